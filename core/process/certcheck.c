/* certcheck - see certcheck.h. The child answers with a line for each problem, which begins with
 * '!' where it is certain, else with '?', and with a last line "." */
#include "process/certcheck.h"

#include "process/certificates.h"
#include "tls/store.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#define REPORT_MOST                                                                                \
    (32u << 20) /* bytes of a report with TLS_PAIRS lines of paths for 64 listeners */

static struct {
    FILE *report, *answer; /* to the child, and from it; NULL: there is none */
    pid_t pid;
} kept;

static void certcheck_ignore(const char *text)
{
    (void)text;
}

/* `user`: whom to become once the files are read; NULL: nobody. */
static void certcheck_look(const char *report, const struct user *user,
                           void (*add)(void *ctx, const char *text, bool certain), void *ctx)
{
    static struct plan plan;
    int file = 0;
    uint64_t folders;
    char *text = strdup(report);
    if (text == NULL)
        abort();
    plan_read(&plan, text);
    free(text);
    const char *err = certificates_open(&plan, &file, &folders);
    if (err == NULL && user != NULL)
        err = user_become(user);
    struct tls_store *store =
        err == NULL ? tls_store_new(file, NULL, NULL, certcheck_ignore, &err) : NULL;
    if (store != NULL)
        tls_store_check(store, add, ctx);
    else
        add(ctx, err, true);
    tls_store_free(store);
    if (file > 0)
        close(file);
    plan_free(&plan);
}

/* --- the child --- */

static void certcheck_write(void *ctx, const char *text, bool certain)
{
    fputc(certain ? '!' : '?', ctx);
    for (; *text != '\0'; text++)
        fputc(*text == '\n' ? ' ' : *text, ctx);
    fputc('\n', ctx);
}

__attribute__((noreturn)) static void certcheck_serve(FILE *in, FILE *out, const struct user *user)
{
    char *report = calloc(1, REPORT_MOST + 1);
    size_t n = report != NULL ? fread(report, 1, REPORT_MOST, in) : 0;
    if (n > 0) { /* else the script is no good, and nobody asks */
        certcheck_look(report, user, certcheck_write, out);
        fputs(".\n", out);
    }
    fflush(out);
    _exit(0);
}

/* --- the process that runs the script --- */

const char *certcheck_keep(const struct user *user)
{
    int there[2], back[2];
    if (pipe2(there, O_CLOEXEC) != 0)
        return strerror(errno);
    if (pipe2(back, O_CLOEXEC) != 0 || (kept.pid = fork()) < 0)
        return strerror(errno);
    if (kept.pid == 0) {
        close(there[1]);
        close(back[0]);
        certcheck_serve(fdopen(there[0], "r"), fdopen(back[1], "w"), user);
    }
    close(there[0]);
    close(back[1]);
    kept.report = fdopen(there[1], "w");
    kept.answer = fdopen(back[0], "r");
    if (kept.report == NULL || kept.answer == NULL)
        abort();
    return NULL;
}

void certcheck(const char *report, void (*add)(void *ctx, const char *text, bool certain),
               void *ctx)
{
    char line[2048];
    bool whole = false;
    if (kept.report == NULL) {
        certcheck_look(report, NULL, add, ctx);
        return;
    }
    fputs(report, kept.report);
    fclose(kept.report);
    while (!whole && fgets(line, sizeof line, kept.answer) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        whole = strcmp(line, ".") == 0;
        if (!whole)
            add(ctx, line + 1, line[0] == '!');
    }
    fclose(kept.answer);
    kept.report = kept.answer = NULL;
    waitpid(kept.pid, NULL, 0);
    if (!whole)
        add(ctx, "tls: the process that reads the certificates has failed", true);
}
