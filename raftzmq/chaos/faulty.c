/* LD_PRELOAD: the disk and the clock of one process misbehave, as $FAULTS tells.
 *
 * $FAULTS names a file of lines "<what> <end of the path> <number> <how many times>", read again
 * whenever it changes. <what> is
 *   sync, write, read   fsync and fdatasync, write and pwrite, pread on files whose path ends so
 *                       fail with errno <number>
 *   slow                fsync and fdatasync on such files take <number> milliseconds longer
 *   jump                the wall clock is <number> milliseconds off; path "-"
 *   drift               from now on the wall clock runs at <number> thousandths of its speed;
 *                       path "-". It is right again when the line is gone
 * Only the wall clock is touched: a monotonic clock that jumps would break the waits of the C
 * library, which compare it with deadlines of the kernel's clock.
 * What was done is appended to $FAULTS.fired, a line "<what> <path> <number>" each, so that it can
 * be proven; of a clock once per line read.
 * Build: cc -O2 -shared -fPIC -o faulty.so faulty.c -ldl */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

#define RULES 16
static struct rule { char what[8], end[64]; long number, times, left; } rules[RULES];
static int count;
static struct stat seen;
static struct timespec drift_from;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static __thread int busy;

#define NEXT(name, ...) \
	static __typeof__(__VA_ARGS__) next; \
	if (!next) next = (__typeof__(next))dlsym(RTLD_NEXT, name)

static int true_clock(clockid_t clock, struct timespec *out) {
	NEXT("clock_gettime", int (*)(clockid_t, struct timespec *));
	return next(clock, out);
}

static void load(const char *file) {
	struct stat facts;
	/* The kernel stamps files with a clock of some milliseconds: two versions may share the time. */
	if (stat(file, &facts) || (facts.st_mtim.tv_sec == seen.st_mtim.tv_sec &&
		facts.st_mtim.tv_nsec == seen.st_mtim.tv_nsec && facts.st_ino == seen.st_ino && facts.st_size == seen.st_size))
		return;
	FILE *in = fopen(file, "r");
	if (!in) return;
	seen = facts;
	struct rule before[RULES];
	int had = count, drifted = 0;
	memcpy(before, rules, sizeof rules);
	for (count = 0; count < RULES && fscanf(in, "%7s %63s %ld %ld", rules[count].what, rules[count].end,
		&rules[count].number, &rules[count].times) == 4; count++) {
		struct rule *rule = &rules[count];
		rule->left = rule->times;
		/* One that was there goes on: it is not the fault's fault that another came or went. */
		for (int at = 0; at < had; at++)
			if (!strcmp(before[at].what, rule->what) && !strcmp(before[at].end, rule->end) &&
				before[at].number == rule->number && before[at].times == rule->times) {
				rule->left = before[at].left;
				drifted |= !strcmp(rule->what, "drift");
			}
	}
	if (!drifted) true_clock(CLOCK_REALTIME, &drift_from);
	fclose(in);
}

static void tell(const char *file, const char *what, const char *path, long number) {
	char fired[4096];
	snprintf(fired, sizeof fired, "%s.fired", file);
	FILE *out = fopen(fired, "a");
	if (out) { fprintf(out, "%s %s %ld\n", what, path, number); fclose(out); }
}

/* The number of the first rule for this call on this file, or 0. */
static long fault(const char *what, int fd) {
	const char *file = getenv("FAULTS");
	char link[64], path[4096];
	long number = 0;
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
			if (rules[at].left <= 0 || strcmp(rules[at].what, what) || whole < tail ||
				strcmp(path + whole - tail, rules[at].end)) continue;
			rules[at].left--;
			number = rules[at].number;
			tell(file, what, path, number);
		}
	}
	pthread_mutex_unlock(&lock);
	busy = 0;
	return number;
}

static void add_ns(struct timespec *time, long long ns) {
	ns += time->tv_nsec;
	time->tv_sec += ns / 1000000000LL;
	ns %= 1000000000LL;
	if (ns < 0) { ns += 1000000000LL; time->tv_sec--; }
	time->tv_nsec = ns;
}

static void bend(struct timespec *time) {
	const char *file = getenv("FAULTS");
	if (!file || busy) return;
	busy = 1;
	pthread_mutex_lock(&lock);
	load(file);
	for (int at = 0; at < count; at++) {
		int jump = !strcmp(rules[at].what, "jump"), drift = !strcmp(rules[at].what, "drift");
		if (!jump && !drift) continue;
		if (rules[at].left > 0) {
			rules[at].left = 0;
			tell(file, rules[at].what, "-", rules[at].number);
		}
		if (jump) add_ns(time, rules[at].number * 1000000LL);
		else {
			long long passed = (time->tv_sec - drift_from.tv_sec) * 1000000000LL + time->tv_nsec - drift_from.tv_nsec;
			add_ns(time, passed / 1000 * (rules[at].number - 1000));
		}
	}
	pthread_mutex_unlock(&lock);
	busy = 0;
}

int clock_gettime(clockid_t clock, struct timespec *out) {
	int result = true_clock(clock, out);
	if (!result && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) bend(out);
	return result;
}
time_t time(time_t *out) {
	struct timespec now;
	clock_gettime(CLOCK_REALTIME, &now);
	if (out) *out = now.tv_sec;
	return now.tv_sec;
}
int gettimeofday(struct timeval *out, void *zone) {
	struct timespec now;
	(void)zone;
	clock_gettime(CLOCK_REALTIME, &now);
	out->tv_sec = now.tv_sec;
	out->tv_usec = now.tv_nsec / 1000;
	return 0;
}

static void linger(int fd) {
	long ms = fault("slow", fd);
	if (ms > 0) { struct timespec time = {ms / 1000, ms % 1000 * 1000000L}; nanosleep(&time, 0); }
}

#define FAIL(what) long number = fault(what, fd); if (number) { errno = (int)number; return -1; }

int fsync(int fd) { NEXT("fsync", int (*)(int)); linger(fd); FAIL("sync") return next(fd); }
int fdatasync(int fd) { NEXT("fdatasync", int (*)(int)); linger(fd); FAIL("sync") return next(fd); }
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
