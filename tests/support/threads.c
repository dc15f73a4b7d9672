/*
 * threads - an application on libfcgi with four threads, each of which serves one connection at a
 * time. "/meet" is answered once four requests are in it at once; any other page says what it was
 * asked for, and how long its body was, with a sum.
 */
#include <fcgiapp.h>

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { THREADS = 4 };

static pthread_barrier_t meeting;

static void threads_answer(FCGX_Request *r)
{
    const char *path = FCGX_GetParam("PATH_INFO", r->envp);
    unsigned sum = 0;
    long size = 0;
    for (int c = FCGX_GetChar(r->in); c != EOF; c = FCGX_GetChar(r->in)) {
        sum = sum * 31 + (unsigned)c;
        size++;
    }
    if (path != NULL && strcmp(path, "/meet") == 0)
        pthread_barrier_wait(&meeting);
    if (path != NULL && strcmp(path, "/complain") == 0)
        FCGX_FPrintF(r->err, "threads: complains\n");
    FCGX_FPrintF(r->out, "Status: 200\r\nContent-Type: text/plain\r\n\r\n%s %ld %u",
                 path != NULL ? path : "-", size, sum);
    FCGX_SetExitStatus(7, r->out);
}

static void *threads_serve(void *arg)
{
    FCGX_Request r;
    (void)arg;
    FCGX_InitRequest(&r, 0, 0);
    while (FCGX_Accept_r(&r) == 0) {
        threads_answer(&r);
        FCGX_Finish_r(&r);
    }
    return NULL;
}

int main(void)
{
    pthread_t threads[THREADS];
    FCGX_Init();
    pthread_barrier_init(&meeting, NULL, THREADS);
    for (int i = 0; i < THREADS; i++)
        if (pthread_create(&threads[i], NULL, threads_serve, NULL) != 0)
            return 1;
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    return 0;
}
