/* A file system on which single calls fail at random, to be preloaded: while the file $FAULTY exists, one call in
   $FAULTY_ONE_IN on a path or a file below $FAULTY_PATH fails with EIO, ENOSPC or ESTALE, or writes only a part. The
   random numbers follow from $FAULTY_SEED and the process id. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static unsigned state;

static unsigned number_below(unsigned bound) {
  const char *seed = getenv("FAULTY_SEED");
  if (!state) state = (seed ? atoi(seed) : 0) * 65537u + getpid();
  return rand_r(&state) % bound;
}

static int is_below(const char *path) {
  const char *folder = getenv("FAULTY_PATH");
  return folder && path && !strncmp(path, folder, strlen(folder));
}

static int is_due(void) {
  const char *flag = getenv("FAULTY"), *one_in = getenv("FAULTY_ONE_IN");
  return flag && one_in && !number_below(atoi(one_in)) && !access(flag, F_OK);
}

static int fails(const char *call, const char *path, int takes_space) {
  static const int errors[] = {EIO, ESTALE, ENOSPC};
  if (!is_below(path) || !is_due()) return 0;
  int number = errors[number_below(takes_space ? 3 : 2)];
  int log = syscall(SYS_openat, AT_FDCWD, getenv("FAULTY_LOG"), O_WRONLY | O_CREAT | O_APPEND, 0600);
  char line[64];
  int length = snprintf(line, sizeof line, "%s %s\n", call, strerrorname_np(number));
  syscall(SYS_write, log, line, length);
  syscall(SYS_close, log);
  errno = number;
  return 1;
}

static int file_fails(const char *call, int file) {
  char link[64], path[PATH_MAX];
  int before = errno;
  snprintf(link, sizeof link, "/proc/self/fd/%d", file);
  ssize_t length = readlink(link, path, sizeof path - 1);
  errno = before;
  if (length < 0) return 0;
  path[length] = 0;
  return fails(call, path, 1);
}

#define OPEN(name)                                                                        \
  int name(const char *path, int flags, ...) {                                            \
    va_list arguments;                                                                    \
    va_start(arguments, flags);                                                           \
    mode_t mode = flags & (O_CREAT | __O_TMPFILE) ? va_arg(arguments, mode_t) : 0;        \
    va_end(arguments);                                                                    \
    if (fails(#name, path, flags & O_CREAT)) return -1;                                   \
    return ((int (*)(const char *, int, ...))dlsym(RTLD_NEXT, #name))(path, flags, mode); \
  }
OPEN(open)
OPEN(open64)

ssize_t write(int file, const void *data, size_t size) {
  ssize_t (*real)(int, const void *, size_t) = dlsym(RTLD_NEXT, "write");
  if (!file_fails("write", file)) return real(file, data, size);
  return errno == EIO && size > 1 ? real(file, data, size / 2) : -1;
}

int fsync(int file) {
  return file_fails("fsync", file) ? -1 : ((int (*)(int))dlsym(RTLD_NEXT, "fsync"))(file);
}

int rename(const char *from, const char *to) {
  return fails("rename", to, 1) ? -1 : ((int (*)(const char *, const char *))dlsym(RTLD_NEXT, "rename"))(from, to);
}

int mkdir(const char *path, mode_t mode) {
  return fails("mkdir", path, 1) ? -1 : ((int (*)(const char *, mode_t))dlsym(RTLD_NEXT, "mkdir"))(path, mode);
}
