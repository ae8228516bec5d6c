/* A network file system whose server is down, to be preloaded: while the file $UNREADABLE exists, no path below $UNREADABLE_PATH
   can be opened, listed, made or renamed (ESTALE). Files that are open go on working. */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int fails(const char *path) {
  const char *flag = getenv("UNREADABLE"), *folder = getenv("UNREADABLE_PATH");
  if (!flag || !folder || !path || strncmp(path, folder, strlen(folder)) || access(flag, F_OK)) return 0;
  errno = ESTALE;
  return 1;
}

static mode_t mode_of(int flags, va_list arguments) {
  return flags & (O_CREAT | __O_TMPFILE) ? va_arg(arguments, mode_t) : 0;
}

#define OPEN(name)                                                 \
  int name(const char *path, int flags, ...) {                     \
    va_list arguments;                                             \
    va_start(arguments, flags);                                    \
    mode_t mode = mode_of(flags, arguments);                       \
    va_end(arguments);                                             \
    if (fails(path)) return -1;                                    \
    int (*real)(const char *, int, ...) = dlsym(RTLD_NEXT, #name); \
    return real(path, flags, mode);                                \
  }
#define OPENAT(name)                                                    \
  int name(int folder, const char *path, int flags, ...) {              \
    va_list arguments;                                                  \
    va_start(arguments, flags);                                         \
    mode_t mode = mode_of(flags, arguments);                            \
    va_end(arguments);                                                  \
    if (fails(path)) return -1;                                         \
    int (*real)(int, const char *, int, ...) = dlsym(RTLD_NEXT, #name); \
    return real(folder, path, flags, mode);                             \
  }

OPEN(open)
OPEN(open64)
OPENAT(openat)
OPENAT(openat64)

DIR *opendir(const char *path) {
  return fails(path) ? NULL : ((DIR * (*)(const char *)) dlsym(RTLD_NEXT, "opendir"))(path);
}

int mkdir(const char *path, mode_t mode) {
  return fails(path) ? -1 : ((int (*)(const char *, mode_t))dlsym(RTLD_NEXT, "mkdir"))(path, mode);
}

int rename(const char *from, const char *to) {
  return fails(from) || fails(to) ? -1 : ((int (*)(const char *, const char *))dlsym(RTLD_NEXT, "rename"))(from, to);
}

int unlink(const char *path) { return fails(path) ? -1 : ((int (*)(const char *))dlsym(RTLD_NEXT, "unlink"))(path); }
