/* plan - see plan.h. */
#include "plan.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#define REPORT_MAX   (4u << 20) /* thousands of servers have their addresses in it */
#define FILES_FOLLOW '\1'       /* behind the message of a failure */

/* --- the loader's side --- */

__attribute__((noreturn)) static void say_failure(int out, const char *text, const char *files)
{
    dprintf(out, "!%s%c%s", text, FILES_FOLLOW, files);
    _exit(1);
}

static void load(const struct loader_config *config, int out)
{
    char *err = NULL;
    const char *bad = user_become(config->user);
    if (bad != NULL)
        say_failure(out, bad, "");
    struct script *script = script_new(config->route, &err);
    if (script == NULL)
        say_failure(out, err, script_failed_files());
    char *report = script_report(script, config->ini);
    if (report == NULL)
        say_failure(out, "the settings could not be read", "");
    char *failed = config->tests ? script_check_tests(script) : NULL;
    if (failed != NULL)
        say_failure(out, failed, report);
    if (config->snapshot > 0 &&
        (lseek(config->snapshot, 0, SEEK_SET) != 0 || ftruncate(config->snapshot, 0) != 0 ||
         !script_snapshot(script, config->snapshot)))
        say_failure(out, "what the script has loaded can't be kept for the workers", "");
    dprintf(out, "%s", report);
    free(report);
    script_free(script);
    _exit(0);
}

/* --- the report --- */

void plan_listen(struct plan *plan, const char *address, const char *name, int backlog,
                 bool control)
{
    if (plan->listen_count == PLAN_LISTENERS)
        return;
    plan->listen[plan->listen_count++] = (struct listen_spec){
        .address = strdup(address), .name = strdup(name), .backlog = backlog, .control = control};
}

static void copy(char *out, size_t size, const char *text)
{
    snprintf(out, size, "%s", text);
}

/* What is whole, tabs and all. True: it was that. */
static bool take_text(struct plan *plan, const char *key, const char *rest)
{
    char **text = strcmp(key, "ini") == 0    ? &plan->ini
                  : strcmp(key, "note") == 0 ? &plan->note
                                             : NULL;
    if (text != NULL && *text == NULL)
        *text = strdup(rest);
    return text != NULL;
}

static void take_line(struct plan *plan, const char *key, char *rest)
{
    char *fields[4] = {"", "", "", ""};
    for (int i = 0; i < 4 && rest != NULL; i++)
        fields[i] = strsep(&rest, "\t");
    if (strcmp(key, "listen") == 0) {
        plan_listen(plan, fields[0], fields[3], atoi(fields[2]), false);
    } else if (strcmp(key, "workers") == 0) {
        plan->workers = (unsigned)atoi(fields[0]);
    } else if (strcmp(key, "user") == 0) {
        copy(plan->user, sizeof plan->user, fields[0]);
    } else if (strcmp(key, "group") == 0) {
        copy(plan->group, sizeof plan->group, fields[0]);
    } else if (strcmp(key, "control") == 0) {
        copy(plan->control, sizeof plan->control, fields[0]);
    } else if (strcmp(key, "access") == 0) {
        copy(plan->access, sizeof plan->access, fields[0]);
    } else if (strcmp(key, "error") == 0) {
        copy(plan->error, sizeof plan->error, fields[0]);
    } else if (strcmp(key, "level") == 0) {
        int level = log_level_parse(fields[0]);
        plan->level = level >= 0 ? (enum log_level)level : LOG_INFO;
    } else if (strcmp(key, "stop_timeout") == 0) {
        plan->stop_timeout = atof(fields[0]);
    } else if (strcmp(key, "script_timeout") == 0) {
        plan->script_timeout = atof(fields[0]);
    } else if (strcmp(key, "shared") == 0) {
        plan->shared = strtoull(fields[0], NULL, 10);
    } else if (strcmp(key, "watch") == 0) {
        plan->watch = fields[0][0] == '\0' ? -1 : atoi(fields[0]);
    } else if (strcmp(key, "file") == 0 && plan->file_count < PLAN_FILES) {
        plan->files[plan->file_count++] = strdup(fields[0]);
    }
}

static void read_plan(struct plan *plan, char *report)
{
    memset(plan, 0, sizeof *plan);
    plan->stop_timeout = 30;
    plan->script_timeout = 1;
    plan->level = LOG_INFO;
    plan->watch = -1;
    for (char *line; (line = strsep(&report, "\n")) != NULL;) {
        char *key = strsep(&line, "\t");
        if (line != NULL && !take_text(plan, key, line))
            take_line(plan, key, line);
    }
    if (plan->workers == 0)
        plan->workers = (unsigned)sysconf(_SC_NPROCESSORS_ONLN);
    if (plan->workers > PLAN_WORKERS)
        plan->workers = PLAN_WORKERS;
}

void plan_free(struct plan *plan)
{
    for (unsigned i = 0; i < plan->listen_count; i++) {
        free(plan->listen[i].address);
        free(plan->listen[i].name);
    }
    for (unsigned i = 0; i < plan->file_count; i++)
        free(plan->files[i]);
    free(plan->ini);
    free(plan->note);
    plan->ini = plan->note = NULL;
    plan->listen_count = plan->file_count = 0;
}

/* --- the master's side --- */

bool loader_start(struct loader *loader, const struct loader_config *config)
{
    int ends[2];
    *loader = (struct loader){.text = calloc(1, REPORT_MAX)};
    if (loader->text == NULL)
        abort();
    if (pipe2(ends, O_CLOEXEC) != 0) {
        snprintf(loader->text, REPORT_MAX, "!no pipe for the loader: %s", strerror(errno));
        return false;
    }
    fflush(NULL);
    loader->pid = fork();
    if (loader->pid == 0) {
        close(ends[0]);
        config->child(config->ctx);
        load(config, ends[1]);
    }
    close(ends[1]);
    loader->fd = ends[0];
    fcntl(loader->fd, F_SETFL, O_NONBLOCK);
    if (loader->pid > 0)
        return true;
    snprintf(loader->text, REPORT_MAX, "!no process for the loader: %s", strerror(errno));
    close(loader->fd);
    loader->pid = 0;
    return false;
}

static void reap(struct loader *loader)
{
    int status = 0;
    while (waitpid(loader->pid, &status, 0) < 0 && errno == EINTR)
        ;
    loader->pid = 0;
    close(loader->fd);
    if (loader->used == 0)
        snprintf(loader->text, REPORT_MAX, "!the script ended the process that loaded it (%s %d)",
                 WIFSIGNALED(status) ? "signal" : "status",
                 WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
}

/* It has more to say than we listen to, and would wait for us for ever. */
static enum loader_result cut_off(struct loader *loader)
{
    kill(loader->pid, SIGKILL);
    reap(loader);
    snprintf(loader->text, REPORT_MAX,
             "!the route names more servers, settings of PHP and files than can be kept track of");
    return LOADER_FAILED;
}

enum loader_result loader_read(struct loader *loader, struct plan *plan)
{
    if (loader->used == REPORT_MAX - 1)
        return cut_off(loader);
    ssize_t n = read(loader->fd, loader->text + loader->used, REPORT_MAX - 1 - loader->used);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return LOADER_MORE;
    if (n > 0) {
        loader->used += (size_t)n;
        return LOADER_MORE;
    }
    reap(loader);
    if (loader->text[0] != '!') {
        read_plan(plan, loader->text);
        return LOADER_DONE;
    }
    char *files = strchr(loader->text, FILES_FOLLOW);
    if (files != NULL) {
        *files = '\0';
        read_plan(plan, files + 1);
    }
    return LOADER_FAILED;
}

const char *loader_error(const struct loader *loader)
{
    return loader->text[0] == '!' ? loader->text + 1 : loader->text;
}

void loader_forget(struct loader *loader)
{
    if (loader->pid > 0)
        close(loader->fd);
    free(loader->text);
    *loader = (struct loader){.pid = 0};
}

void loader_free(struct loader *loader)
{
    if (loader->pid > 0) {
        kill(loader->pid, SIGKILL);
        reap(loader);
    }
    free(loader->text);
    *loader = (struct loader){.pid = 0};
}
