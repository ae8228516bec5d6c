/* A node that has no room for another process, to be preloaded: while the file $NO_PROCESSES exists, none can be started. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <spawn.h>
#include <stdlib.h>
#include <sys/types.h>
#include <unistd.h>
static int refused(void) {
    const char *file = getenv("NO_PROCESSES");
    return file && access(file, F_OK) == 0;
}
pid_t fork(void) {
    static pid_t (*real)(void);
    if (refused()) { errno = EAGAIN; return -1; }
    if (!real) real = dlsym(RTLD_NEXT, "fork");
    return real();
}
#define SPAWN(name) int name(pid_t *pid, const char *path, const posix_spawn_file_actions_t *actions, \
                             const posix_spawnattr_t *attributes, char *const arguments[], char *const environment[]) { \
    static int (*real)(pid_t *, const char *, const posix_spawn_file_actions_t *, const posix_spawnattr_t *, \
                       char *const[], char *const[]); \
    if (refused()) return EAGAIN; \
    if (!real) real = dlsym(RTLD_NEXT, #name); \
    return real(pid, path, actions, attributes, arguments, environment); }
SPAWN(posix_spawn) SPAWN(posix_spawnp)
