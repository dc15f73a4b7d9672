/* plan - see plan.h. */
#include "plan.h"

#include "trial.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define REPORT_MAX   (4u << 20) /* thousands of servers have their addresses in it */
#define MESSAGE_MAX  16384      /* of a failure: more than a line of the log takes */
#define FILES_FOLLOW '\1'       /* behind the message of a failure */

/* --- the loader's side --- */

__attribute__((noreturn)) static void say_failure(int out, const char *text, const char *files)
{
    dprintf(out, "!%.*s%c%s", MESSAGE_MAX, text, FILES_FOLLOW, files);
    _exit(1);
}

/* However the master ends, what a script does here ends with it. Asked for as the script's user: to
 * become another one forgets it. */
static void end_with(pid_t master)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != master)
        _exit(1);
}

/* The script, loaded; in a reload with all that a worker has around it. */
static struct script *load_script(const struct loader_config *config, struct trial **trial,
                                  char **err)
{
    if (!config->trial)
        return script_new(config->route, err);
    *trial = trial_new(config->route, config->generation, config->shared, err);
    return *trial != NULL ? trial_script(*trial) : NULL;
}

static void load(const struct loader_config *config, pid_t master, int out)
{
    char *err = NULL;
    struct trial *trial = NULL;
    const char *bad = user_become(config->user);
    if (bad != NULL)
        say_failure(out, bad, "");
    end_with(master);
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    script_supervise_alone(out, "!");
    struct script *script = load_script(config, &trial, &err);
    if (script == NULL)
        say_failure(out, err, script_failed_files());
    char *report = script_report(script, config->ini);
    if (report == NULL)
        say_failure(out, "the settings could not be read", "");
    char *failed = config->trial ? script_check_tests(script) : NULL;
    if (failed != NULL)
        say_failure(out, failed, report);
    if (config->snapshot > 0 &&
        (lseek(config->snapshot, 0, SEEK_SET) != 0 || ftruncate(config->snapshot, 0) != 0 ||
         !script_snapshot(script, config->snapshot)))
        say_failure(out, "what the script has loaded can't be kept for the workers", "");
    bad = trial != NULL ? trial_start(trial) : NULL;
    if (bad != NULL)
        say_failure(out, bad, report);
    dprintf(out, "%s", report);
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
    pid_t master = getpid();
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
        load(config, master, ends[1]);
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

/* It has said all, or all that we hear. One that has closed its end of the pipe, or writes on into
 * a full one, would keep us for ever; one that is ending keeps its own status. */
static void end(struct loader *loader)
{
    int status = 0;
    kill(loader->pid, SIGKILL);
    while (waitpid(loader->pid, &status, 0) < 0 && errno == EINTR)
        ;
    loader->pid = 0;
    close(loader->fd);
    if (loader->used == 0)
        snprintf(loader->text, REPORT_MAX, "!the script ended the process that loaded it (%s %d)",
                 WIFSIGNALED(status) ? "signal" : "status",
                 WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
}

enum loader_result loader_read(struct loader *loader, struct plan *plan)
{
    ssize_t n = read(loader->fd, loader->text + loader->used, REPORT_MAX - 1 - loader->used);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return LOADER_MORE;
    loader->used += n > 0 ? (size_t)n : 0;
    bool full = loader->used == REPORT_MAX - 1;
    if (n > 0 && !full)
        return LOADER_MORE;
    end(loader);
    if (full && loader->text[0] != '!')
        snprintf(loader->text, REPORT_MAX,
                 "!what the loader says of the script has no end: the route names more servers, "
                 "settings of PHP and files than can be kept track of");
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
    if (loader->pid > 0)
        end(loader);
    free(loader->text);
    *loader = (struct loader){.pid = 0};
}
