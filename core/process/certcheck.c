/* certcheck - see certcheck.h. The question is a loader's report; before it, for one certificate, a
 * line "name TAB NUMBER TAB NAME". The child answers with a line KEY TAB TEXT for each fact and a
 * last line ".". Keys beside those of tls/facts: "wrong" is a problem that is certain, "doubt" one
 * that is not, "left_out" why a pair of a folder is not used. */
#include "process/certcheck.h"

#include "process/certificates.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#define CERTCHECK_NAME 512 /* bytes of a name that is asked about */
#define REPORT_MOST                                                                                \
    (32u << 20) /* bytes of a report with TLS_PAIRS lines of paths for 64 listeners */

static struct {
    FILE *report, *answer; /* to the child, and from it; NULL: there is none */
    pid_t pid;
} kept;

/* Who gets the facts of the look that is under way. */
static struct {
    facts_tell *tell;
    void *ctx;
} look;

static void certcheck_warn(const char *text)
{
    look.tell(look.ctx, "left_out", text);
}

static void certcheck_ignore(const char *text)
{
    (void)text;
}

static void certcheck_problem(void *ctx, const char *text, bool certain)
{
    (void)ctx;
    look.tell(look.ctx, certain ? "wrong" : "doubt", text);
}

/* Takes the line of a question about one name off the report. 0: there is none. */
static unsigned certcheck_take_name(const char **report, char name[CERTCHECK_NAME])
{
    name[0] = '\0';
    if (strncmp(*report, "name\t", 5) != 0)
        return 0;
    char *text;
    unsigned long number = strtoul(*report + 5, &text, 10);
    text += *text == '\t';
    size_t n = strcspn(text, "\n");
    snprintf(name, CERTCHECK_NAME, "%.*s", (int)n, text);
    *report = text + n + (text[n] != '\0');
    return (unsigned)number;
}

static void certcheck_look_for_ktls(const struct plan *plan)
{
    const char *text;
    for (unsigned at = 0; (text = certificates_without_ktls(plan, &at)) != NULL;)
        certcheck_problem(NULL, text, false);
}

/* `user`: whom to become once the files are read; NULL: nobody. */
static void certcheck_look(const char *report, const struct user *user)
{
    static struct plan plan;
    char name[CERTCHECK_NAME];
    int file = 0;
    uint64_t folders;
    unsigned number = certcheck_take_name(&report, name);
    char *text = strdup(report);
    if (text == NULL)
        abort();
    plan_read(&plan, text);
    free(text);
    const char *err = certificates_open(&plan, &file, &folders);
    if (number == 0)
        certcheck_look_for_ktls(&plan);
    if (err == NULL && user != NULL)
        err = user_become(user);
    struct tls_store *store =
        err == NULL
            ? tls_store_new(file, NULL, NULL, number > 0 ? certcheck_warn : certcheck_ignore, &err)
            : NULL;
    if (store == NULL)
        look.tell(look.ctx, "wrong", err);
    else if (number > 0)
        facts_of_listener(store, number, name, look.tell, look.ctx);
    else
        tls_store_check(store, certcheck_problem, NULL);
    tls_store_free(store);
    if (file > 0)
        close(file);
    plan_free(&plan);
}

/* --- the child --- */

static void certcheck_write(void *ctx, const char *key, const char *text)
{
    fprintf(ctx, "%s\t", key);
    for (; *text != '\0'; text++)
        fputc(*text == '\n' ? ' ' : *text, ctx);
    fputc('\n', ctx);
}

__attribute__((noreturn)) static void certcheck_serve(FILE *in, FILE *out, const struct user *user)
{
    char *report = calloc(1, REPORT_MOST + 1);
    size_t n = report != NULL ? fread(report, 1, REPORT_MOST, in) : 0;
    look.tell = certcheck_write;
    look.ctx = out;
    if (n > 0) { /* else the script is no good, and nobody asks */
        certcheck_look(report, user);
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

/* Asks the child, or looks where there is none. */
static void certcheck_ask(const char *question, const char *report, facts_tell *tell, void *ctx)
{
    char line[2048];
    bool whole = false;
    if (kept.report == NULL) {
        char *both = NULL;
        if (asprintf(&both, "%s%s", question, report) < 0)
            abort();
        look.tell = tell;
        look.ctx = ctx;
        certcheck_look(both, NULL);
        free(both);
        return;
    }
    fputs(question, kept.report);
    fputs(report, kept.report);
    fclose(kept.report);
    while (!whole && fgets(line, sizeof line, kept.answer) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        whole = strcmp(line, ".") == 0;
        char *text = strchr(line, '\t');
        if (whole || text == NULL)
            continue;
        *text++ = '\0';
        tell(ctx, line, text);
    }
    fclose(kept.answer);
    kept.report = kept.answer = NULL;
    waitpid(kept.pid, NULL, 0);
    if (!whole)
        tell(ctx, "wrong", "tls: the process that reads the certificates has failed");
}

struct certcheck_adding {
    void (*add)(void *ctx, const char *text, bool certain);
    void *ctx;
};

static void certcheck_add(void *ctx, const char *key, const char *text)
{
    const struct certcheck_adding *a = ctx;
    a->add(a->ctx, text, strcmp(key, "wrong") == 0);
}

void certcheck(const char *report, void (*add)(void *ctx, const char *text, bool certain),
               void *ctx)
{
    struct certcheck_adding adding = {add, ctx};
    certcheck_ask("", report, certcheck_add, &adding);
}

void certcheck_name(const char *report, unsigned number, const char *name, facts_tell *tell,
                    void *ctx)
{
    char question[CERTCHECK_NAME + 32];
    snprintf(question, sizeof question, "name\t%u\t%.*s\n", number, (int)strcspn(name, "\n"), name);
    certcheck_ask(question, report, tell, ctx);
}
