/* A hiccup of a network file system, to be preloaded: in the process STALE_PID, the STALE_AT-th opening of a path that has
   STALE_PATH in it fails once with STALE_ERRNO. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int opened;

static int fails(const char *path) {
  const char *process = getenv("STALE_PID"), *part = getenv("STALE_PATH");
  if (!process || atoi(process) != getpid() || !part || !path || !strstr(path, part)) return 0;
  if (++opened != atoi(getenv("STALE_AT"))) return 0;
  errno = atoi(getenv("STALE_ERRNO"));
  return 1;
}

static mode_t mode_of(int flags, va_list arguments) {
  return flags & (O_CREAT | __O_TMPFILE) ? va_arg(arguments, mode_t) : 0;
}

#define OPEN(name)                                              \
  int name(const char *path, int flags, ...) {                  \
    va_list arguments;                                          \
    va_start(arguments, flags);                                 \
    mode_t mode = mode_of(flags, arguments);                    \
    va_end(arguments);                                          \
    if (fails(path)) return -1;                                 \
    int (*real)(const char *, int, ...) = dlsym(RTLD_NEXT, #name); \
    return real(path, flags, mode);                             \
  }
#define OPENAT(name)                                            \
  int name(int folder, const char *path, int flags, ...) {      \
    va_list arguments;                                          \
    va_start(arguments, flags);                                 \
    mode_t mode = mode_of(flags, arguments);                    \
    va_end(arguments);                                          \
    if (fails(path)) return -1;                                 \
    int (*real)(int, const char *, int, ...) = dlsym(RTLD_NEXT, #name); \
    return real(folder, path, flags, mode);                     \
  }

OPEN(open)
OPEN(open64)
OPENAT(openat)
OPENAT(openat64)
