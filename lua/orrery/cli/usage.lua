--- What `orrery --help` prints.

return [[
usage: orrery [options] SCRIPT [ARG...]
       orrery [options] -e CODE [ARG...]
       orrery [options] - [ARG...]          the script comes from stdin

  -e CODE      run CODE
  --init       run below an init that reaps orphans and hands signals on, as
               orrery does by itself where it is pid 1 of a container
  --version    print the version
  --help       print this

Exit status: process.exit_code; 1 uncaught error; 7 an uncaught_exception
listener failed; 9 bad option; 13 the main task waits for what cannot come;
below an init 128 and the number of the signal that ended the script.
]]
