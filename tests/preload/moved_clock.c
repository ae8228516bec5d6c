/* The system clock runs ahead by the number of seconds that the file $MOVED_CLOCK contains at the time of the call. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>
static long ahead(void) {
    long seconds = 0;
    FILE *file = fopen(getenv("MOVED_CLOCK"), "r");
    if (file) { if (fscanf(file, "%ld", &seconds) != 1) seconds = 0; fclose(file); }
    return seconds;
}
int clock_gettime(clockid_t which, struct timespec *found) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
    int status = real(which, found);
    if (!status && (which == CLOCK_REALTIME || which == CLOCK_REALTIME_COARSE)) found->tv_sec += ahead();
    return status;
}
int gettimeofday(struct timeval *found, void *zone) {
    static int (*real)(struct timeval *, void *);
    if (!real) real = dlsym(RTLD_NEXT, "gettimeofday");
    int status = real(found, zone);
    if (!status) found->tv_sec += ahead();
    return status;
}
