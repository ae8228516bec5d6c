/* A file system that refuses what ODDFS names, to be preloaded: fsyncdir (EINVAL: CIFS, FUSE), chmod (EPERM: GPFS with ACLs),
   link (EPERM), flock (EBADF of an exclusive lock on what is not open for writing: NFS). */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

static int refuses(const char *call, int number) {
  const char *named = getenv("ODDFS");
  if (!named || !strstr(named, call)) return 0;
  errno = number;
  return 1;
}

#define REAL(name, ...) ((int (*)(__VA_ARGS__))dlsym(RTLD_NEXT, #name))

int fsync(int file) {
  struct stat status;
  if (!fstat(file, &status) && S_ISDIR(status.st_mode) && refuses("fsyncdir", EINVAL)) return -1;
  return REAL(fsync, int)(file);
}

int fchmod(int file, mode_t mode) { return refuses("chmod", EPERM) ? -1 : REAL(fchmod, int, mode_t)(file, mode); }

int chmod(const char *path, mode_t mode) {
  return refuses("chmod", EPERM) ? -1 : REAL(chmod, const char *, mode_t)(path, mode);
}

int fchmodat(int folder, const char *path, mode_t mode, int flags) {
  if (refuses("chmod", EPERM)) return -1;
  return REAL(fchmodat, int, const char *, mode_t, int)(folder, path, mode, flags);
}

int link(const char *from, const char *to) {
  return refuses("link", EPERM) ? -1 : REAL(link, const char *, const char *)(from, to);
}

int linkat(int folder, const char *from, int target, const char *to, int flags) {
  if (refuses("link", EPERM)) return -1;
  return REAL(linkat, int, const char *, int, const char *, int)(folder, from, target, to, flags);
}

int flock(int file, int operation) {
  if ((operation & LOCK_EX) && (fcntl(file, F_GETFL) & O_ACCMODE) == O_RDONLY && refuses("flock", EBADF)) return -1;
  return REAL(flock, int, int)(file, operation);
}
