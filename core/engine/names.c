/* names.c - the two tables of names, and the search in them.

   strerrorname_np is glibc's alone (2.32), so the names of errnos stand here.
   luv 1.44 turns an unknown signal name into signal 0 and reports success, so
   names of signals are turned into numbers by this table and nowhere else. */
#include "names.h"

#include <errno.h>
#include <signal.h>
#include <stddef.h>

#define NAME(name)                                                             \
  { #name, name }

const struct orr_name orr_errnos[] = {
    NAME(E2BIG),         NAME(EACCES),       NAME(EADDRINUSE),
    NAME(EADDRNOTAVAIL), NAME(EAFNOSUPPORT), NAME(EAGAIN),
    NAME(EALREADY),      NAME(EBADF),        NAME(EBADMSG),
    NAME(EBUSY),         NAME(ECANCELED),    NAME(ECHILD),
    NAME(ECONNABORTED),  NAME(ECONNREFUSED), NAME(ECONNRESET),
    NAME(EDEADLK),       NAME(EDESTADDRREQ), NAME(EDOM),
    NAME(EDQUOT),        NAME(EEXIST),       NAME(EFAULT),
    NAME(EFBIG),         NAME(EHOSTDOWN),    NAME(EHOSTUNREACH),
    NAME(EILSEQ),        NAME(EINPROGRESS),  NAME(EINTR),
    NAME(EINVAL),        NAME(EIO),          NAME(EISCONN),
    NAME(EISDIR),        NAME(ELIBBAD),      NAME(ELOOP),
    NAME(EMFILE),        NAME(EMLINK),       NAME(EMSGSIZE),
    NAME(ENAMETOOLONG),  NAME(ENETDOWN),     NAME(ENETRESET),
    NAME(ENETUNREACH),   NAME(ENFILE),       NAME(ENOBUFS),
    NAME(ENODATA),       NAME(ENODEV),       NAME(ENOENT),
    NAME(ENOEXEC),       NAME(ENOLCK),       NAME(ENOMEM),
    NAME(ENOPROTOOPT),   NAME(ENOSPC),       NAME(ENOSYS),
    NAME(ENOTCONN),      NAME(ENOTDIR),      NAME(ENOTEMPTY),
    NAME(ENOTSOCK),      NAME(ENOTSUP),      NAME(ENOTTY),
    NAME(ENXIO),         NAME(EOVERFLOW),    NAME(EPERM),
    NAME(EPIPE),         NAME(EPROTO),       NAME(EPROTONOSUPPORT),
    NAME(EPROTOTYPE),    NAME(ERANGE),       NAME(EROFS),
    NAME(ESPIPE),        NAME(ESHUTDOWN),    NAME(ESRCH),
    NAME(ESTALE),        NAME(ETIMEDOUT),    NAME(ETOOMANYREFS),
    NAME(ETXTBSY),       NAME(EUSERS),       NAME(EXDEV),
    {NULL, 0},
};

const struct orr_name orr_signals[] = {
    NAME(SIGHUP),  NAME(SIGINT),    NAME(SIGQUIT), NAME(SIGILL),
    NAME(SIGTRAP), NAME(SIGABRT),   NAME(SIGBUS),  NAME(SIGFPE),
    NAME(SIGKILL), NAME(SIGUSR1),   NAME(SIGSEGV), NAME(SIGUSR2),
    NAME(SIGPIPE), NAME(SIGALRM),   NAME(SIGTERM), NAME(SIGSTKFLT),
    NAME(SIGCHLD), NAME(SIGCONT),   NAME(SIGSTOP), NAME(SIGTSTP),
    NAME(SIGTTIN), NAME(SIGTTOU),   NAME(SIGURG),  NAME(SIGXCPU),
    NAME(SIGXFSZ), NAME(SIGVTALRM), NAME(SIGPROF), NAME(SIGWINCH),
    NAME(SIGIO),   NAME(SIGPWR),    NAME(SIGSYS),  NAME(SIGIOT),
    NAME(SIGPOLL), {NULL, 0},
};

const char *orr_name_of(const struct orr_name *names, int number) {
  while (names->name != NULL && names->number != number)
    names++;
  return names->name;
}
