// Measures what a start costs with Go's os/exec, one after the other, stdio
// ignored. Parameters and figures as in spawn.c, without sleepers:
//
//	spawn_go COUNT HEAP_MIB 0 - PROGRAM [ARG...]
package main

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"syscall"
	"time"
)

func number(word string) int {
	n, err := strconv.Atoi(word)
	if err != nil {
		panic(err)
	}
	return n
}

// Memory that is really there: a byte of each page is written.
func touched(mib int) []byte {
	heap := make([]byte, mib<<20)
	for i := 0; i < len(heap); i += 4096 {
		heap[i] = 1
	}
	return heap
}

func run(n int, command []string) {
	for ; n > 0; n-- {
		if err := exec.Command(command[0], command[1:]...).Run(); err != nil {
			panic(err)
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
	count, command := number(os.Args[1]), os.Args[5:]
	heap := touched(number(os.Args[2]))
	run(count/10+1, command)
	wall, cpu := time.Now(), cpuMicroseconds()
	run(count, command)
	seconds := time.Since(wall).Seconds()
	fmt.Printf("cpu_us_per_op %.3f\n", (cpuMicroseconds()-cpu)/float64(count))
	fmt.Printf("per_second %.1f\n", float64(count)/seconds)
	runtime.KeepAlive(heap)
}
