/* Makes system calls on files below given folders fail, for tests: loaded by LD_PRELOAD.
 *
 * The environment says what a storm is like; child processes inherit it.
 *
 *   STORM_PATHS   folders, separated by ":"; only what lies below one of them is struck
 *   STORM_CALLS   kinds of calls, separated by ",": stat open list read write fsync rename remove
 *   STORM_ERRNO   the number of the error; 0: the call does not fail, it never returns
 *   STORM_SEED    a number: whether the n-th call of a kind on a path fails depends on it
 *   STORM_RATE    of 10,000 calls so many fail
 *   STORM_STUCK   1: a path either always fails or never, as a bad sector does
 *   STORM_FROM    no call fails before that many would have, in each process
 *   STORM_LOG     a file, to which a line is appended for each call that fails
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum kind { STAT, OPEN, LIST, READ, WRITE, FSYNC, RENAME, REMOVE, KINDS };
static const char *const names[KINDS] = {
    "stat", "open", "list", "read", "write", "fsync", "rename", "remove"};

#define SLOTS 65536
static _Atomic uint32_t seen[SLOTS]; /* calls so far, by kind and path */
static _Atomic long matched;
static _Atomic int is_on;
static char folders[8][PATH_MAX];
static int folder_count, number, is_stuck, log_fd = -1;
static unsigned kinds;
static uint64_t seed, rate;
static long from;

static uint64_t mix(uint64_t x) {
    x += 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

static long env(const char *name) {
    const char *value = getenv(name);
    return value ? strtol(value, NULL, 10) : 0;
}

/* Also called by a process that was forked to begin a storm of its own. */
__attribute__((constructor)) void storm_begin(void) {
    const char *paths = getenv("STORM_PATHS"), *calls = getenv("STORM_CALLS");
    atomic_store(&is_on, 0);
    if (!paths || !*paths || !calls) return;
    folder_count = 0;
    while (*paths && folder_count < 8) {
        size_t length = strcspn(paths, ":");
        if (length && length < PATH_MAX) {
            memcpy(folders[folder_count], paths, length);
            folders[folder_count++][length] = 0;
        }
        paths += length + (paths[length] == ':');
    }
    kinds = 0;
    for (int each = 0; each < KINDS; each++)
        for (const char *at = calls; (at = strstr(at, names[each])); at++) kinds |= 1u << each;
    number = (int)env("STORM_ERRNO");
    seed = (uint64_t)env("STORM_SEED");
    rate = (uint64_t)env("STORM_RATE");
    is_stuck = (int)env("STORM_STUCK");
    from = env("STORM_FROM");
    const char *log = getenv("STORM_LOG");
    if (log)
        log_fd = (int)syscall(
            SYS_openat, AT_FDCWD, log, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644);
    atomic_store(&is_on, 1);
}

/* What of the path lies below one of the folders, from that folder's name on; else NULL. */
static const char *below(const char *path) {
    for (int each = 0; each < folder_count; each++) {
        size_t length = strlen(folders[each]);
        if (strncmp(path, folders[each], length) || (path[length] && path[length] != '/')) continue;
        const char *name = path + length;
        while (name > path && name[-1] != '/') name--;
        return name;
    }
    return NULL;
}

static ssize_t target(const char *link, char *out) {
    ssize_t length = syscall(SYS_readlink, link, out, PATH_MAX - 1);
    if (length >= 0) out[length] = 0;
    return length;
}

/* Whether a call of ``kind`` on the absolute ``path`` is to fail. */
static int strikes(enum kind kind, const char *path) {
    const char *name = below(path);
    if (!name) return 0;
    uint64_t hash = 1469598103934665603u ^ (uint64_t)kind;
    for (const char *at = name; *at; at++) hash = (hash ^ (unsigned char)*at) * 1099511628211u;
    uint32_t count = atomic_fetch_add(&seen[mix(hash) % SLOTS], 1);
    uint64_t draw = mix(seed ^ mix(hash ^ (is_stuck ? 0 : mix(count))));
    if (draw % 10000 >= rate || atomic_fetch_add(&matched, 1) < from) return 0;
    if (log_fd >= 0) {
        char line[PATH_MAX + 64];
        int length = snprintf(line, sizeof line, "%s %d %s\n", names[kind], number, path);
        if (length > 0) syscall(SYS_write, log_fd, line, (size_t)length);
    }
    while (!number) pause();
    errno = number;
    return 1;
}

static int fd_fails(enum kind kind, int fd) {
    if (!atomic_load(&is_on) || !(kinds & 1u << kind) || fd < 0) return 0;
    int before = errno;
    char link[64], path[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    if (target(link, path) > 0 && strikes(kind, path)) return 1;
    errno = before;
    return 0;
}

static int path_fails(enum kind kind, int folder, const char *name) {
    if (!atomic_load(&is_on) || !(kinds & 1u << kind) || !name) return 0;
    if (!*name) return fd_fails(kind, folder); /* AT_EMPTY_PATH */
    int before = errno;
    char path[2 * PATH_MAX];
    if (*name == '/') {
        snprintf(path, sizeof path, "%s", name);
    } else {
        char base[PATH_MAX], link[64];
        if (folder == AT_FDCWD) snprintf(link, sizeof link, "/proc/self/cwd");
        else snprintf(link, sizeof link, "/proc/self/fd/%d", folder);
        if (target(link, base) < 0) base[0] = 0;
        snprintf(path, sizeof path, "%s/%s", base, name);
    }
    if (strikes(kind, path)) return 1;
    errno = before;
    return 0;
}

#define NEXT(type, name, parameters)                                  \
    static type(*next) parameters;                                    \
    if (!next) *(void **)&next = dlsym(RTLD_NEXT, #name);

#define ON_PATH(type, failed, name, kind, folder, path, parameters, arguments) \
    type name parameters {                                                     \
        if (path_fails(kind, folder, path)) return failed;                     \
        NEXT(type, name, parameters)                                           \
        return next arguments;                                                 \
    }

#define ON_FD(type, failed, name, kind, fd, parameters, arguments) \
    type name parameters {                                         \
        if (fd_fails(kind, fd)) return failed;                     \
        NEXT(type, name, parameters)                               \
        return next arguments;                                     \
    }

/* --- stat --- */
#define STATS(suffix, record)                                                                    \
    ON_PATH(int, -1, stat##suffix, STAT, AT_FDCWD, path, (const char *path, struct record *at),  \
            (path, at))                                                                          \
    ON_PATH(int, -1, lstat##suffix, STAT, AT_FDCWD, path, (const char *path, struct record *at), \
            (path, at))                                                                          \
    ON_PATH(int, -1, fstatat##suffix, STAT, folder, path,                                        \
            (int folder, const char *path, struct record *at, int flags),                        \
            (folder, path, at, flags))                                                           \
    ON_FD(int, -1, fstat##suffix, STAT, fd, (int fd, struct record *at), (fd, at))               \
    ON_PATH(int, -1, __xstat##suffix, STAT, AT_FDCWD, path,                                      \
            (int version, const char *path, struct record *at), (version, path, at))             \
    ON_PATH(int, -1, __lxstat##suffix, STAT, AT_FDCWD, path,                                     \
            (int version, const char *path, struct record *at), (version, path, at))             \
    ON_PATH(int, -1, __fxstatat##suffix, STAT, folder, path,                                     \
            (int version, int folder, const char *path, struct record *at, int flags),           \
            (version, folder, path, at, flags))                                                  \
    ON_FD(int, -1, __fxstat##suffix, STAT, fd, (int version, int fd, struct record *at),         \
          (version, fd, at))
STATS(, stat)
STATS(64, stat64)
ON_PATH(int, -1, statx, STAT, folder, path,
        (int folder, const char *restrict path, int flags, unsigned mask,
         struct statx *restrict at),
        (folder, path, flags, mask, at))
ON_PATH(int, -1, access, STAT, AT_FDCWD, path, (const char *path, int mode), (path, mode))
ON_PATH(int, -1, faccessat, STAT, folder, path,
        (int folder, const char *path, int mode, int flags), (folder, path, mode, flags))

/* --- open --- */
#define OPENS(name)                                             \
    int name(const char *path, int flags, ...) {                \
        va_list list;                                           \
        va_start(list, flags);                                  \
        mode_t mode = va_arg(list, mode_t);                     \
        va_end(list);                                           \
        if (path_fails(OPEN, AT_FDCWD, path)) return -1;        \
        NEXT(int, name, (const char *, int, ...))               \
        return next(path, flags, mode);                         \
    }
#define OPENATS(name)                                           \
    int name(int folder, const char *path, int flags, ...) {    \
        va_list list;                                           \
        va_start(list, flags);                                  \
        mode_t mode = va_arg(list, mode_t);                     \
        va_end(list);                                           \
        if (path_fails(OPEN, folder, path)) return -1;          \
        NEXT(int, name, (int, const char *, int, ...))          \
        return next(folder, path, flags, mode);                 \
    }
OPENS(open)
OPENS(open64)
OPENATS(openat)
OPENATS(openat64)
ON_PATH(int, -1, __open_2, OPEN, AT_FDCWD, path, (const char *path, int flags), (path, flags))
ON_PATH(int, -1, __open64_2, OPEN, AT_FDCWD, path, (const char *path, int flags), (path, flags))
ON_PATH(FILE *, NULL, fopen, OPEN, AT_FDCWD, path,
        (const char *restrict path, const char *restrict mode), (path, mode))
ON_PATH(FILE *, NULL, fopen64, OPEN, AT_FDCWD, path,
        (const char *restrict path, const char *restrict mode), (path, mode))

/* --- folders --- */
ON_PATH(DIR *, NULL, opendir, LIST, AT_FDCWD, path, (const char *path), (path))
ON_FD(DIR *, NULL, fdopendir, LIST, fd, (int fd), (fd))
ON_FD(struct dirent *, NULL, readdir, LIST, dirfd(folder), (DIR *folder), (folder))
ON_FD(struct dirent64 *, NULL, readdir64, LIST, dirfd(folder), (DIR *folder), (folder))

/* --- read --- */
ON_FD(ssize_t, -1, read, READ, fd, (int fd, void *to, size_t size), (fd, to, size))
ON_FD(ssize_t, -1, __read_chk, READ, fd, (int fd, void *to, size_t size, size_t room),
      (fd, to, size, room))
ON_FD(ssize_t, -1, pread, READ, fd, (int fd, void *to, size_t size, off_t at), (fd, to, size, at))
ON_FD(ssize_t, -1, pread64, READ, fd, (int fd, void *to, size_t size, off64_t at),
      (fd, to, size, at))
ON_FD(ssize_t, -1, readv, READ, fd, (int fd, const struct iovec *parts, int count),
      (fd, parts, count))
ON_FD(size_t, 0, fread, READ, fileno(file),
      (void *restrict to, size_t size, size_t count, FILE *restrict file), (to, size, count, file))

/* --- write --- */
ON_FD(ssize_t, -1, write, WRITE, fd, (int fd, const void *what, size_t size), (fd, what, size))
ON_FD(ssize_t, -1, pwrite, WRITE, fd, (int fd, const void *what, size_t size, off_t at),
      (fd, what, size, at))
ON_FD(ssize_t, -1, pwrite64, WRITE, fd, (int fd, const void *what, size_t size, off64_t at),
      (fd, what, size, at))
ON_FD(ssize_t, -1, writev, WRITE, fd, (int fd, const struct iovec *parts, int count),
      (fd, parts, count))
ON_FD(size_t, 0, fwrite, WRITE, fileno(file),
      (const void *restrict what, size_t size, size_t count, FILE *restrict file),
      (what, size, count, file))
ON_FD(int, EOF, fflush, WRITE, file ? fileno(file) : -1, (FILE * file), (file))
ON_FD(int, -1, ftruncate, WRITE, fd, (int fd, off_t size), (fd, size))
ON_FD(int, -1, ftruncate64, WRITE, fd, (int fd, off64_t size), (fd, size))
ON_FD(int, errno, posix_fallocate, WRITE, fd, (int fd, off_t at, off_t size), (fd, at, size))
ON_FD(int, errno, posix_fallocate64, WRITE, fd, (int fd, off64_t at, off64_t size), (fd, at, size))
ON_PATH(int, -1, mkdir, WRITE, AT_FDCWD, path, (const char *path, mode_t mode), (path, mode))

/* A file is closed all the same, as it is by the real ones. */
int fclose(FILE *file) {
    int fails = fd_fails(WRITE, fileno(file));
    NEXT(int, fclose, (FILE *))
    int result = next(file);
    if (!fails) return result;
    errno = number;
    return EOF;
}

/* --- fsync, rename, remove --- */
ON_FD(int, -1, fsync, FSYNC, fd, (int fd), (fd))
ON_FD(int, -1, fdatasync, FSYNC, fd, (int fd), (fd))
ON_PATH(int, -1, rename, RENAME, AT_FDCWD, to, (const char *what, const char *to), (what, to))
ON_PATH(int, -1, renameat, RENAME, folder, to,
        (int from_folder, const char *what, int folder, const char *to), (from_folder, what, folder, to))
ON_PATH(int, -1, renameat2, RENAME, folder, to,
        (int from_folder, const char *what, int folder, const char *to, unsigned flags),
        (from_folder, what, folder, to, flags))
ON_PATH(int, -1, unlink, REMOVE, AT_FDCWD, path, (const char *path), (path))
ON_PATH(int, -1, unlinkat, REMOVE, folder, path, (int folder, const char *path, int flags),
        (folder, path, flags))
ON_PATH(int, -1, rmdir, REMOVE, AT_FDCWD, path, (const char *path), (path))
