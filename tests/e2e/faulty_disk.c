/* LD_PRELOAD: system calls on chosen files fail, as a broken disk makes them fail.
 *
 * FAULTS names a file of lines "<call> <end of the path> <errno> <how many times>", read again
 * whenever it changes; <call> is sync (fsync, fdatasync), write (write, pwrite) or read (pread).
 * What failed is appended to $FAULTS.fired, one line each, so that a test can prove it.
 * Build: cc -O2 -shared -fPIC -o faulty_disk.so faulty_disk.c -ldl */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

#define RULES 16
static struct { char call[8], end[64]; int number, left; } rules[RULES];
static int count;
static struct timespec seen;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static void load(const char *file) {
	struct stat facts;
	if (stat(file, &facts) || (facts.st_mtim.tv_sec == seen.tv_sec && facts.st_mtim.tv_nsec == seen.tv_nsec))
		return;
	FILE *in = fopen(file, "r");
	if (!in) return;
	seen = facts.st_mtim;
	for (count = 0; count < RULES && fscanf(in, "%7s %63s %d %d", rules[count].call, rules[count].end,
		&rules[count].number, &rules[count].left) == 4; count++) {}
	fclose(in);
}

/* The errno to fail with, or 0. */
static int fault(const char *call, int fd) {
	static __thread int busy;
	const char *file = getenv("FAULTS");
	char link[64], path[4096], fired[4096];
	int number = 0;
	if (!file || busy) return 0;
	busy = 1;
	pthread_mutex_lock(&lock);
	load(file);
	if (count) {
		snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
		ssize_t length = readlink(link, path, sizeof path - 1);
		path[length > 0 ? length : 0] = 0;
		for (int at = 0; at < count && !number; at++) {
			size_t tail = strlen(rules[at].end), whole = strlen(path);
			if (rules[at].left <= 0 || strcmp(rules[at].call, call) || whole < tail ||
				strcmp(path + whole - tail, rules[at].end)) continue;
			rules[at].left--;
			number = rules[at].number;
			snprintf(fired, sizeof fired, "%s.fired", file);
			FILE *out = fopen(fired, "a");
			if (out) { fprintf(out, "%s %s %d\n", call, path, number); fclose(out); }
		}
	}
	pthread_mutex_unlock(&lock);
	busy = 0;
	return number;
}

#define NEXT(name, ...) \
	static __typeof__(__VA_ARGS__) next; \
	if (!next) next = (__typeof__(next))dlsym(RTLD_NEXT, name)
#define FAIL(call) int number = fault(call, fd); if (number) { errno = number; return -1; }

int fsync(int fd) { NEXT("fsync", int (*)(int)); FAIL("sync") return next(fd); }
int fdatasync(int fd) { NEXT("fdatasync", int (*)(int)); FAIL("sync") return next(fd); }
ssize_t write(int fd, const void *data, size_t size) {
	NEXT("write", ssize_t (*)(int, const void *, size_t)); FAIL("write") return next(fd, data, size);
}
ssize_t pwrite(int fd, const void *data, size_t size, off_t at) {
	NEXT("pwrite", ssize_t (*)(int, const void *, size_t, off_t)); FAIL("write") return next(fd, data, size, at);
}
ssize_t pwrite64(int fd, const void *data, size_t size, off64_t at) {
	NEXT("pwrite64", ssize_t (*)(int, const void *, size_t, off64_t)); FAIL("write") return next(fd, data, size, at);
}
ssize_t pread(int fd, void *data, size_t size, off_t at) {
	NEXT("pread", ssize_t (*)(int, void *, size_t, off_t)); FAIL("read") return next(fd, data, size, at);
}
ssize_t pread64(int fd, void *data, size_t size, off64_t at) {
	NEXT("pread64", ssize_t (*)(int, void *, size_t, off64_t)); FAIL("read") return next(fd, data, size, at);
}
