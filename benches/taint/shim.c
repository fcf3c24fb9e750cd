/* Preloaded by benches/taint.sh. For memcheck, what is read from /dev/urandom is undefined, that is
 * secret; and what is written to /dev/null is defined from then on, that is published. */
#define _GNU_SOURCE
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <valgrind/memcheck.h>

static int is_open_as(int fd, const char *name)
{
    char link[32], path[32];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path);
    return length == (ssize_t)strlen(name) && memcmp(path, name, length) == 0;
}

ssize_t read(int fd, void *buffer, size_t size)
{
    ssize_t length = syscall(SYS_read, fd, buffer, size);
    if (length > 0 && is_open_as(fd, "/dev/urandom"))
        VALGRIND_MAKE_MEM_UNDEFINED(buffer, length);
    return length;
}

ssize_t write(int fd, const void *buffer, size_t size)
{
    if (is_open_as(fd, "/dev/null"))
        VALGRIND_MAKE_MEM_DEFINED(buffer, size);
    return syscall(SYS_write, fd, buffer, size);
}
