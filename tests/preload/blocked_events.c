/* While the file $BLOCK exists, opening a path that contains /events/ blocks, as on a network file system whose server is
   down. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
static void held(const char *path) {
    const char *file = getenv("BLOCK");
    if (file && path && strstr(path, "/events/")) while (access(file, F_OK) == 0) usleep(50000);
}
static mode_t mode_of(int flags, va_list rest) { return flags & (O_CREAT | __O_TMPFILE) ? va_arg(rest, mode_t) : 0; }
#define OPEN(name) int name(const char *path, int flags, ...) { \
    static int (*real)(const char *, int, ...); \
    va_list rest; va_start(rest, flags); mode_t mode = mode_of(flags, rest); va_end(rest); \
    held(path); if (!real) real = dlsym(RTLD_NEXT, #name); return real(path, flags, mode); }
#define OPENAT(name) int name(int folder, const char *path, int flags, ...) { \
    static int (*real)(int, const char *, int, ...); \
    va_list rest; va_start(rest, flags); mode_t mode = mode_of(flags, rest); va_end(rest); \
    held(path); if (!real) real = dlsym(RTLD_NEXT, #name); return real(folder, path, flags, mode); }
OPEN(open) OPEN(open64) OPENAT(openat) OPENAT(openat64)
