// Measures what exec("echo hi") costs with Go's os/exec: /bin/sh -c, its output
// collected, one after the other. COUNT and figures as in exec.c:
//
//	exec_go COUNT
package main

import (
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"syscall"
)

func run(n int) {
	for ; n > 0; n-- {
		out, err := exec.Command("/bin/sh", "-c", "echo hi").Output()
		if err != nil || string(out) != "hi\n" {
			panic(fmt.Sprint("wrong output: ", string(out), err))
		}
	}
}

func cpuMicroseconds() float64 {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		panic(err)
	}
	return float64(usage.Utime.Nano()+usage.Stime.Nano()) / 1e3
}

func main() {
	count, err := strconv.Atoi(os.Args[1])
	if err != nil {
		panic(err)
	}
	run(count/10 + 1)
	cpu := cpuMicroseconds()
	run(count)
	fmt.Printf("cpu_us_per_op %.3f\n", (cpuMicroseconds()-cpu)/float64(count))
}
