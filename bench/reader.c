/* Readers inside a container, for bench/views.py: open, read, read to the end, close, as the tools of /proc do.

   reader serve                         commands from standard input, one a line, each answered by one line
       hot READERS SECONDS FILE         each reader re-opens FILE as fast as it can
       once READERS SECONDS FILE        each read is made by a process of its own; only the read is timed
       single 1 0 FILE                  one read, by this very process
     answer: "READS SECONDS P50_NS P99_NS", SECONDS without what lies between the reads
   reader crowd COUNT THREADS ROUNDS GROUPS FILE...
       COUNT processes, each in a pid namespace and a cgroup of its own (every directory in the comma-separated list
       GROUPS, with "/0", "/1" and so on added) and with THREADS threads, read every FILE once a second, ROUNDS times */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { SLOTS = 64, BUCKETS = 8192 }; /* 64 buckets for each power of two: 1.6 % */
typedef unsigned long long u64;
static struct slot { u64 reads, nanoseconds, bucket[BUCKETS]; } *slots;

static u64 now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000ULL + t.tv_nsec;
}

static unsigned bucket_of(u64 ns)
{
    unsigned power = 63 - __builtin_clzll(ns | 64);
    return (power - 5) * 64 + (unsigned)(ns >> (power - 6)) % 64;
}

static u64 value_of(unsigned bucket)
{
    return (64ULL + bucket % 64) << (bucket / 64 - 1);
}

static char data[65536];

static void read_once(const char *file, struct slot *slot)
{
    u64 begin = now();
    int fd = open(file, O_RDONLY);
    if (fd < 0 || read(fd, data, sizeof data) < 0) {
        perror(file);
        _exit(1);
    }
    while (read(fd, data, sizeof data) > 0)
        ;
    close(fd);
    u64 took = now() - begin;
    slot->reads++;
    slot->nanoseconds += took;
    slot->bucket[bucket_of(took)]++;
}

static void once_each(const char *file, struct slot *slot, u64 end)
{
    while (now() < end) {
        pid_t child = fork();
        if (child == 0) {
            memset(data, 0, sizeof data); /* a new process has none of its pages yet */
            read_once(file, slot);
            _exit(0);
        }
        waitpid(child, 0, 0);
    }
}

static void answer(int readers, double seconds)
{
    u64 reads = 0, seen = 0, p50 = 0, p99 = 0;
    for (int i = 0; i < readers; i++)
        reads += slots[i].reads;
    for (unsigned b = 0; b < BUCKETS; b++) {
        for (int i = 0; i < readers; i++)
            seen += slots[i].bucket[b];
        if (!p50 && seen * 2 >= reads)
            p50 = value_of(b);
        if (!p99 && seen * 100 >= reads * 99)
            p99 = value_of(b);
    }
    printf("%llu %f %llu %llu\n", reads, seconds, p50, p99);
    fflush(stdout);
}

static void serve(void)
{
    char line[5000], kind[16], file[4096];
    int readers;
    double seconds;
    while (fgets(line, sizeof line, stdin)) {
        if (sscanf(line, "%15s %d %lf %4095s", kind, &readers, &seconds, file) != 4 || readers > SLOTS)
            exit(2);
        memset(slots, 0, SLOTS * sizeof *slots);
        if (!strcmp(kind, "single")) {
            read_once(file, slots);
            answer(1, slots->nanoseconds / 1e9);
            continue;
        }
        u64 begin = now(), end = begin + (u64)(seconds * 1e9), spent = 0;
        for (int i = 0; i < readers; i++)
            if (fork() == 0) {
                prctl(PR_SET_PDEATHSIG, SIGKILL);
                if (!strcmp(kind, "once"))
                    once_each(file, &slots[i], end);
                else
                    while (now() < end)
                        read_once(file, &slots[i]);
                _exit(0);
            }
        while (wait(0) > 0)
            ;
        double took = (now() - begin) / 1e9;
        for (int i = 0; i < readers; i++)
            spent += slots[i].nanoseconds;
        answer(readers, strcmp(kind, "once") ? took : spent / 1e9 / readers);
    }
}

static void *sleeping(void *unused)
{
    for (;;)
        pause();
    return unused;
}

static void enter(char *groups, int number)
{
    char copy[4096], path[4200];
    snprintf(copy, sizeof copy, "%s", groups);
    for (char *group = strtok(copy, ","); group; group = strtok(0, ",")) {
        snprintf(path, sizeof path, "%s/%d/cgroup.procs", group, number);
        int fd = open(path, O_WRONLY);
        if (fd < 0 || write(fd, "0", 1) != 1) {
            perror(path);
            exit(1);
        }
        close(fd);
    }
}

static void member(int number, int threads, int rounds, char **files)
{
    pthread_attr_t small;
    pthread_t thread;
    pthread_attr_init(&small);
    pthread_attr_setstacksize(&small, 16384);
    for (int i = 1; i < threads; i++)
        pthread_create(&thread, &small, sleeping, 0);
    usleep(number % 100 * 10000); /* not all at once */
    while (rounds--) {
        for (char **file = files; *file; file++)
            read_once(*file, &slots[0]);
        sleep(1);
    }
    sleeping(0);
}

int main(int argc, char **argv)
{
    slots = mmap(0, SLOTS * sizeof *slots, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (argc == 2 && !strcmp(argv[1], "serve")) {
        serve();
        return 0;
    }
    if (argc < 7 || strcmp(argv[1], "crowd"))
        return 2;
    for (int i = 0; i < atoi(argv[2]); i++) {
        enter(argv[5], i);
        long child = syscall(SYS_clone, CLONE_NEWPID | SIGCHLD, 0, 0, 0, 0);
        if (child < 0) {
            perror("clone");
            return 1;
        }
        if (child == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            member(i, atoi(argv[3]), atoi(argv[4]), argv + 6);
        }
    }
    puts("started");
    fflush(stdout);
    while (getchar() != EOF) /* the end of standard input ends all */
        ;
    return 0;
}
