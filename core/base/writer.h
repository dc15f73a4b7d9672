/*
 * writer - a thread that writes to files, so that a process with an event loop never waits for a
 * slow disk. The kernel writes to a regular file at once as a rule, but may hold the writer for
 * seconds while the disk is busy, and a file has no O_NONBLOCK.
 *
 * A file has a buffer of the caller's. The caller appends to it and stores `used`; the thread
 * copies whole lines from `written` on, writes them, and stores `written`. So bytes stay in the
 * buffer until the file has them: where the buffer is shared memory, another process can write the
 * rest after this one has been killed. Bytes are moved to the buffer's beginning by the caller
 * alone (writer_make_room).
 *
 * The thread has a descriptor of its own for each file, so the caller may close its own at any
 * time.
 */
#ifndef MG_BASE_WRITER_H
#define MG_BASE_WRITER_H

#include "base/str.h"

struct writer_file {
    char *bytes;
    uint32_t *used, *written; /* written <= used */
    /* The thread's, under the lock. */
    int fd;    /* -1: nothing is written */
    int busy;  /* the descriptor that is being written to; -1: none is */
    int later; /* the descriptor of the bytes from `mark` on; -1: all bytes go to fd */
    uint32_t mark;
    unsigned turn; /* changes when the buffer is taken back */
    unsigned long lost;
    int reason;
    struct writer_file *next;
};

/* Starts the thread; all signals are blocked in it. False: there is none, and no file may be added.
 * A child of fork(2) has no thread and no files, until it starts one itself. */
bool writer_start(void);
bool writer_runs(void);

/* From now on the thread writes the buffer to a copy of the descriptor. A file that is there
 * already gets another descriptor: bytes that are in the buffer go to the earlier one. False: no
 * descriptor is left. */
bool writer_set(struct writer_file *f, int fd);
/* Takes the buffer back: waits for so many seconds until all is written. Returns the number of
 * bytes that are not; the thread writes none of them any more, but for those that it has taken. */
size_t writer_take_back(struct writer_file *f, double seconds);

/* Tells the thread that there are bytes. */
void writer_wake(void);
/* Moves the bytes that are not written yet to the beginning of the buffer. */
void writer_make_room(struct writer_file *f);
/* Returns the number of lines that could not be written since the last call, and the errno. */
unsigned long writer_lost(struct writer_file *f, int *reason);
/* Tells the thread that there are bytes, and waits until all of this file are written, for so many
 * seconds. False: they are not. */
bool writer_wait(struct writer_file *f, double seconds);
/* Waits until all bytes of all files are written, for so many seconds. False: they are not. */
bool writer_drain(double seconds);

#endif
