/* say - see say.h. */
#include "process/say.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>

void say(const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    fputs("moongate: ", stderr);
    vfprintf(stderr, fmt, args);
    fputc('\n', stderr);
    va_end(args);
}

const char *say_end(int status, char *out, size_t size)
{
    if (WIFSIGNALED(status))
        snprintf(out, size, "was killed by signal %d (%s)", WTERMSIG(status),
                 strsignal(WTERMSIG(status)));
    else
        snprintf(out, size, "ended with status %d", WEXITSTATUS(status));
    return out;
}

static double say_clock_seconds(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

double now_monotonic(void)
{
    return say_clock_seconds(CLOCK_MONOTONIC);
}

double now_wall(void)
{
    return say_clock_seconds(CLOCK_REALTIME);
}
