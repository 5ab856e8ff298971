/*
** errnos.c - the one table of errno names.
**
** strerrorname_np is glibc's alone (2.32), so the names stand here.
*/
#include "errnos.h"

#include <errno.h>
#include <stddef.h>

#define E(name)                                                                \
  { #name, name }

const struct orr_errno orr_errnos[] = {
    E(E2BIG),        E(EACCES),       E(EADDRINUSE),      E(EADDRNOTAVAIL),
    E(EAFNOSUPPORT), E(EAGAIN),       E(EALREADY),        E(EBADF),
    E(EBADMSG),      E(EBUSY),        E(ECANCELED),       E(ECHILD),
    E(ECONNABORTED), E(ECONNREFUSED), E(ECONNRESET),      E(EDEADLK),
    E(EDESTADDRREQ), E(EDOM),         E(EDQUOT),          E(EEXIST),
    E(EFAULT),       E(EFBIG),        E(EHOSTDOWN),       E(EHOSTUNREACH),
    E(EILSEQ),       E(EINPROGRESS),  E(EINTR),           E(EINVAL),
    E(EIO),          E(EISCONN),      E(EISDIR),          E(ELIBBAD),
    E(ELOOP),        E(EMFILE),       E(EMLINK),          E(EMSGSIZE),
    E(ENAMETOOLONG), E(ENETDOWN),     E(ENETRESET),       E(ENETUNREACH),
    E(ENFILE),       E(ENOBUFS),      E(ENODATA),         E(ENODEV),
    E(ENOENT),       E(ENOEXEC),      E(ENOLCK),          E(ENOMEM),
    E(ENOPROTOOPT),  E(ENOSPC),       E(ENOSYS),          E(ENOTCONN),
    E(ENOTDIR),      E(ENOTEMPTY),    E(ENOTSOCK),        E(ENOTSUP),
    E(ENOTTY),       E(ENXIO),        E(EOVERFLOW),       E(EPERM),
    E(EPIPE),        E(EPROTO),       E(EPROTONOSUPPORT), E(EPROTOTYPE),
    E(ERANGE),       E(EROFS),        E(ESPIPE),          E(ESHUTDOWN),
    E(ESRCH),        E(ESTALE),       E(ETIMEDOUT),       E(ETOOMANYREFS),
    E(ETXTBSY),      E(EUSERS),       E(EXDEV),           {NULL, 0},
};
