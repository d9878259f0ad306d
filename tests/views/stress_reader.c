/* Readers of one file that is replaced all the time; checks that every pass over it is one whole, fresh snapshot.

   usage: stress_reader FILE PASSES SECONDS TTL_US
   Prints "PASSES FEWEST BAD", FEWEST the snapshots seen by the rewinding reader that saw the fewest; what was wrong with the first bad passes goes to standard error.

   A snapshot is lines of 32 bytes, "%010llu %012llu %07u\n": its number, when it was made (CLOCK_MONOTONIC, us) and
   its length. No snapshot may be older than TTL_US when a pass over it begins. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { LINE = 32, LONGEST = 1 << 17 };
typedef unsigned long long u64;
enum kind { REOPEN, PAUSE, REWIND, ASK_SIZE };
static const struct reader { enum kind kind; size_t buffer; } READERS[] = {
    {REOPEN, 65536}, {REOPEN, 65536}, {REOPEN, 65536}, {REOPEN, 4096}, {REOPEN, 4096}, {REOPEN, 512},
    {REOPEN, 7},     {REOPEN, 1},     {PAUSE, 4096},   {PAUSE, 512},   {PAUSE, 7},     {REWIND, 65536},
    {REWIND, 4096},  {REWIND, 512},   {REWIND, 7},     {REWIND, 1},    {ASK_SIZE, 65536}, {ASK_SIZE, 512},
};
enum { COUNT = sizeof READERS / sizeof *READERS };
static struct shared { volatile u64 passes[COUNT], snapshots[COUNT], bad[COUNT]; volatile int stop; } *all;

static u64 now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000ULL + t.tv_nsec / 1000;
}

static void complain(int me, const char *what, const char *data, size_t length)
{
    if (all->bad[me]++ < 3)
        fprintf(stderr, "reader %d (kind %d, buffer %zu): %s, %zu bytes: %.70s\n", me, READERS[me].kind,
                READERS[me].buffer, what, length, data);
}

/* The number of the snapshot, 0 when it is not one whole one. */
static u64 check(int me, const char *data, size_t length, u64 begun, u64 ttl)
{
    u64 number = 0, made = 0;
    unsigned size = 0;
    if (length < LINE || sscanf(data, "%llu %llu %u", &number, &made, &size) != 3)
        return complain(me, "no snapshot", data, length), 0;
    if (size != length)
        return complain(me, "wrong length", data, length), 0;
    for (size_t at = LINE; at < length; at += LINE)
        if (memcmp(data, data + at, LINE))
            return complain(me, "mixed", data + at, length), 0;
    if (made + ttl + 2 < begun)
        return complain(me, "stale", data, length), 0;
    return number;
}

static size_t pass(int me, int fd, char *data)
{
    size_t length = 0;
    unsigned reads = 0;
    for (;;) {
        size_t room = LONGEST - length < READERS[me].buffer ? LONGEST - length : READERS[me].buffer;
        ssize_t got = read(fd, data + length, room);
        if (got < 0)
            return complain(me, strerror(errno), "", 0), 0;
        if (got == 0)
            return length;
        length += got;
        if (READERS[me].kind == PAUSE && reads++ % 16 == 0)
            usleep(3000);
        if (READERS[me].kind == ASK_SIZE) {
            struct stat st;
            fstat(fd, &st);
        }
    }
}

static void run(int me, const char *file, u64 ttl)
{
    char *data = malloc(LONGEST + 1);
    u64 last = 0;
    int fd = -1;
    data[LONGEST] = 0;
    while (!all->stop) {
        u64 begun = now_us();
        if (fd < 0 && (fd = open(file, O_RDONLY)) < 0) {
            complain(me, strerror(errno), "", 0);
            break;
        }
        lseek(fd, 0, SEEK_SET);
        size_t length = pass(me, fd, data);
        data[length] = 0;
        u64 number = check(me, data, length, begun, ttl);
        if (number && number < last)
            complain(me, "time went back", data, length);
        if (number > last) {
            all->snapshots[me]++;
            last = number;
        }
        all->passes[me]++;
        if (READERS[me].kind != REWIND) {
            close(fd);
            fd = -1;
        }
        if (READERS[me].buffer < 100)
            usleep(5000); /* thousands of tiny requests must not leave the others without passes */
    }
    exit(0);
}

int main(int argc, char **argv)
{
    if (argc != 5)
        return 2;
    u64 wanted = strtoull(argv[2], 0, 10), end = now_us() + strtoull(argv[3], 0, 10) * 1000000;
    u64 ttl = strtoull(argv[4], 0, 10), passes, snapshots = ~0ULL, bad = 0;
    all = mmap(0, sizeof *all, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    for (int me = 0; me < COUNT; me++)
        if (fork() == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            run(me, argv[1], ttl);
        }
    do {
        usleep(50000);
        passes = 0;
        for (int me = 0; me < COUNT; me++)
            passes += all->passes[me];
    } while (passes < wanted && now_us() < end);
    all->stop = 1;
    while (wait(0) > 0)
        ;
    for (int me = 0; me < COUNT; me++) {
        bad += all->bad[me];
        if (READERS[me].kind == REWIND && all->snapshots[me] < snapshots)
            snapshots = all->snapshots[me];
    }
    printf("%llu %llu %llu\n", passes, snapshots, bad);
    return 0;
}
