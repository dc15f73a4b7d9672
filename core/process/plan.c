/* plan - see plan.h. */
#include "process/plan.h"

#include "front/protocol.h"
#include "process/trial.h"

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

static char message[512];

/* --- the loader's side --- */

__attribute__((noreturn)) static void say_failure(int out, const char *text, const char *files)
{
    log_say_left_out(true);
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

/* An address of a name that this machine does not have: IPv6 is switched off, or a hosts file
 * has another machine's. */
static bool is_elsewhere(struct addr addr)
{
    int fd = socket(addr.sa.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    addr_set_port(&addr, 0);
    bool elsewhere =
        fd < 0 ? errno == EAFNOSUPPORT
               : bind(fd, &addr.sa, addr.len) != 0 && (errno == EADDRNOTAVAIL || errno == ENODEV);
    if (fd >= 0)
        close(fd);
    return elsewhere;
}

/* The addresses of a name that can be had; all of them, so that opening them says why not, where
 * none can. Returns how many, or 0 and *bad. */
static unsigned plan_look_up(const char *given, struct addr list[ADDR_MOST], const char **bad)
{
    char text[ADDR_TEXT_SIZE];
    unsigned count, kept = 0;
    *bad = addr_resolve_all(given, list, &count);
    if (*bad != NULL)
        return 0;
    bool elsewhere[ADDR_MOST];
    for (unsigned i = 0; i < count; i++)
        kept += !(elsewhere[i] = is_elsewhere(list[i]));
    if (kept == 0 || kept == count)
        return count;
    kept = 0;
    for (unsigned i = 0; i < count; i++)
        if (!elsewhere[i])
            list[kept++] = list[i];
        else
            log_info("%s: %s is no address of this machine; it is left out", given,
                     addr_text(&list[i], text));
    return kept;
}

/* The lines with the addresses of all names that are to be listened on. They are looked up here
 * since that may take its time, and the master waits for nobody. Ends the process where one has
 * none. */
static void write_addresses(int out, const char *report, FILE *lines)
{
    struct addr list[ADDR_MOST];
    unsigned listeners = 0;
    for (const char *line = report; line != NULL; line = strchr(line, '\n')) {
        char key[16], given[300], text[ADDR_TEXT_SIZE];
        const char *bad = NULL;
        line += line != report;
        if (sscanf(line, "%15[^\t\n]\t%299[^\t\n]", key, given) != 2 ||
            (strcmp(key, "listen") != 0 && strcmp(key, "control") != 0))
            continue;
        bool is_name = addr_is_name(given, NULL, NULL) && strcmp(given, "off") != 0;
        unsigned count = is_name ? plan_look_up(given, list, &bad) : 1;
        listeners += strcmp(key, "listen") == 0 ? count : 0;
        if (bad == NULL && listeners > PLAN_ROUTE)
            bad = "with all addresses of the names there are more than can be listened on";
        if (bad != NULL) {
            snprintf(message, sizeof message, "can't listen on %s: %s", given, bad);
            say_failure(out, message, report);
        }
        for (unsigned i = 0; is_name && i < count; i++)
            fprintf(lines, "address\t%s\t%s\n", given, addr_text(&list[i], text));
    }
}

static void say_report(int out, const char *report)
{
    char *addresses = NULL;
    size_t size;
    FILE *lines = open_memstream(&addresses, &size);
    if (lines == NULL)
        abort();
    write_addresses(out, report, lines);
    fclose(lines);
    dprintf(out, "%s%s", addresses, report);
    free(addresses);
}

static void plan_load(const struct loader_config *config, pid_t master, int out)
{
    char *err = NULL;
    struct trial *trial = NULL;
    const char *bad = user_become(config->user);
    if (bad != NULL)
        say_failure(out, bad, "");
    end_with(master);
    log_take_prints();
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
    log_say_left_out(true);
    say_report(out, report);
    _exit(0);
}

/* --- the report --- */

static void add_listener(struct plan *plan, struct listen_spec spec)
{
    if (plan->listen_count == PLAN_LISTENERS)
        return;
    spec.address = strdup(spec.address);
    spec.given = spec.given != NULL ? strdup(spec.given) : NULL;
    spec.name = strdup(spec.name);
    plan->listen[plan->listen_count++] = spec;
}

void plan_listen(struct plan *plan, const struct listen_spec *given)
{
    struct listen_spec spec = *given;
    bool is_name = false;
    for (unsigned i = 0; i < plan->address_count; i++) {
        if (strcmp(plan->addresses[i].given, given->address) != 0)
            continue;
        is_name = true;
        spec.address = plan->addresses[i].address;
        spec.given = given->address;
        spec.name = given->name[0] != '\0' ? given->name : given->address;
        add_listener(plan, spec);
    }
    if (!is_name)
        add_listener(plan, spec);
}

static void add_address(struct plan *plan, const char *given, const char *address)
{
    struct plan_address *list =
        realloc(plan->addresses, (plan->address_count + 1) * sizeof *plan->addresses);
    if (list == NULL)
        abort();
    plan->addresses = list;
    list[plan->address_count++] =
        (struct plan_address){.given = strdup(given), .address = strdup(address)};
}

static void plan_copy(char *out, size_t size, const char *text)
{
    snprintf(out, size, "%s", text);
}

/* Lines whose value is the whole rest, tabs as well. True: this was one. */
static bool plan_read_text(struct plan *plan, const char *key, const char *rest)
{
    char **text = strcmp(key, "ini") == 0    ? &plan->ini
                  : strcmp(key, "note") == 0 ? &plan->note
                                             : NULL;
    if (text != NULL && *text == NULL)
        *text = strdup(rest);
    return text != NULL;
}

static void plan_read_line(struct plan *plan, const char *key, char *rest)
{
    char *fields[5] = {"", "", "", "", ""};
    for (int i = 0; i < 5 && rest != NULL; i++)
        fields[i] = strsep(&rest, "\t");
    if (strcmp(key, "address") == 0) {
        add_address(plan, fields[0], fields[1]);
    } else if (strcmp(key, "listen") == 0) {
        const struct protocol *protocol = protocol_find(fields[1]);
        if (protocol == NULL) /* nothing that a route may name */
            return;
        plan_listen(plan, &(struct listen_spec){.address = fields[0],
                                                .protocol = protocol,
                                                .backlog = atoi(fields[2]),
                                                .name = fields[3],
                                                .proxy_protocol = fields[4][0] == '1'});
    } else if (strcmp(key, "workers") == 0) {
        plan->workers = (unsigned)atoi(fields[0]);
    } else if (strcmp(key, "user") == 0) {
        plan_copy(plan->user, sizeof plan->user, fields[0]);
    } else if (strcmp(key, "group") == 0) {
        plan_copy(plan->group, sizeof plan->group, fields[0]);
    } else if (strcmp(key, "control") == 0) {
        plan_copy(plan->control, sizeof plan->control, fields[0]);
    } else if (strcmp(key, "access") == 0) {
        plan_copy(plan->access, sizeof plan->access, fields[0]);
    } else if (strcmp(key, "error") == 0) {
        plan_copy(plan->error, sizeof plan->error, fields[0]);
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
    } else if (strcmp(key, "warning") == 0 && plan->warning_count < PLAN_WARNINGS) {
        plan->warnings[plan->warning_count++] = strdup(fields[0]);
    }
}

/* One a core, but two at least: where a script keeps one, or has ended it, the other serves. */
static unsigned workers_by_itself(void)
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    return cores < 2 ? 2 : (unsigned)cores;
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
        if (line != NULL && !plan_read_text(plan, key, line))
            plan_read_line(plan, key, line);
    }
    if (plan->workers == 0)
        plan->workers = workers_by_itself();
    if (plan->workers > PLAN_WORKERS)
        plan->workers = PLAN_WORKERS;
}

void plan_keep_control(struct plan *plan, const struct plan *from)
{
    plan_copy(plan->control, sizeof plan->control, from->control);
    for (unsigned i = 0; i < from->address_count; i++)
        if (strcmp(from->addresses[i].given, from->control) == 0)
            add_address(plan, from->addresses[i].given, from->addresses[i].address);
}

void plan_free(struct plan *plan)
{
    for (unsigned i = 0; i < plan->listen_count; i++) {
        free(plan->listen[i].address);
        free(plan->listen[i].given);
        free(plan->listen[i].name);
    }
    for (unsigned i = 0; i < plan->address_count; i++) {
        free(plan->addresses[i].given);
        free(plan->addresses[i].address);
    }
    free(plan->addresses);
    plan->addresses = NULL;
    plan->address_count = 0;
    for (unsigned i = 0; i < plan->file_count; i++)
        free(plan->files[i]);
    for (unsigned i = 0; i < plan->warning_count; i++)
        free(plan->warnings[i]);
    free(plan->ini);
    free(plan->note);
    plan->ini = plan->note = NULL;
    plan->listen_count = plan->file_count = plan->warning_count = 0;
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
        plan_load(config, master, ends[1]);
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
static void plan_end(struct loader *loader)
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
    plan_end(loader);
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
        plan_end(loader);
    free(loader->text);
    *loader = (struct loader){.pid = 0};
}
