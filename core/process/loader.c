/* loader - see loader.h. */
#include "process/loader.h"

#include "process/child.h"
#include "process/trial.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define REPORT_MAX   (4u << 20) /* bytes; enough for the addresses of thousands of servers */
#define MESSAGE_MAX  16384      /* bytes of an error; more than a log line holds */
#define FILES_FOLLOW '\1'       /* separates an error from the list of files */

/* --- the child --- */

__attribute__((noreturn)) static void loader_fail(int out, const char *text, const char *files)
{
    log_say_left_out(true);
    dprintf(out, "!%.*s%c%s", MESSAGE_MAX, text, FILES_FOLLOW, files);
    _exit(1);
}

/* Makes the child end with the master, even if that is killed. Called after the change of the user,
 * which resets PR_SET_PDEATHSIG. */
static void loader_end_with(pid_t master)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != master)
        _exit(1);
}

/* Loads the script, in a reload with the environment of a worker. */
static struct script *loader_load_script(const struct loader_config *config, struct trial **trial,
                                         char **err)
{
    if (!config->trial)
        return script_new(config->route, err);
    *trial = trial_new(config->route, config->generation, config->shared, err);
    return *trial != NULL ? trial_script(*trial) : NULL;
}

/* True for an address that this machine does not have: IPv6 is switched off, or a hosts file names
 * another machine. */
static bool loader_is_elsewhere(struct addr addr)
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

/* The addresses of a name that this machine has; all addresses if it has none of them, so that
 * opening them gives the error. Returns their number, or 0 and *bad. */
static unsigned loader_look_up(const char *given, struct addr list[ADDR_MOST], const char **bad)
{
    char text[ADDR_TEXT_SIZE];
    unsigned count, kept = 0;
    *bad = addr_resolve_all(given, list, &count);
    if (*bad != NULL)
        return 0;
    bool elsewhere[ADDR_MOST];
    for (unsigned i = 0; i < count; i++)
        kept += !(elsewhere[i] = loader_is_elsewhere(list[i]));
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

/* Writes the lines with the addresses of all names of listeners. The loader looks them up, since a
 * name server may be slow and the master must not wait for it. A name without an address ends the
 * process. */
static void loader_write_addresses(int out, const char *report, FILE *lines)
{
    struct addr list[ADDR_MOST];
    unsigned listeners = 0;
    for (const char *line = report; line != NULL; line = strchr(line, '\n')) {
        char key[16], given[300], text[ADDR_TEXT_SIZE], message[512];
        const char *bad = NULL;
        line += line != report;
        if (sscanf(line, "%15[^\t\n]\t%299[^\t\n]", key, given) != 2 ||
            (strcmp(key, "listen") != 0 && strcmp(key, "control") != 0))
            continue;
        bool is_name = addr_is_name(given, NULL, NULL) && strcmp(given, "off") != 0;
        unsigned count = is_name ? loader_look_up(given, list, &bad) : 1;
        listeners += strcmp(key, "listen") == 0 ? count : 0;
        if (bad == NULL && listeners > PLAN_ROUTE)
            bad = "with all addresses of the names there are more than can be listened on";
        if (bad != NULL) {
            snprintf(message, sizeof message, "can't listen on %s: %s", given, bad);
            loader_fail(out, message, report);
        }
        for (unsigned i = 0; is_name && i < count; i++)
            fprintf(lines, "address\t%s\t%s\n", given, addr_text(&list[i], text));
    }
}

/* Likewise the address of a syslog server that a log goes to: the first one of a name. */
static void loader_write_receivers(int out, const char *report, FILE *lines)
{
    for (const char *line = report; line != NULL; line = strchr(line, '\n')) {
        char key[16], given[300], text[ADDR_TEXT_SIZE], message[512];
        struct addr first;
        line += line != report;
        if (sscanf(line, "%15[^\t\n]\tsyslog %*s %*s %*s %*s %*s %299[^\t\n]", key, given) != 2 ||
            (strcmp(key, "access") != 0 && strcmp(key, "error") != 0) ||
            !addr_is_name(given, NULL, NULL))
            continue;
        const char *bad = addr_resolve(given, &first);
        if (bad != NULL) {
            snprintf(message, sizeof message, "log.%s: the syslog server %s can't be found: %s",
                     key, given, bad);
            loader_fail(out, message, report);
        }
        fprintf(lines, "address\t%s\t%s\n", given, addr_text(&first, text));
    }
}

static void loader_report(int out, const char *report)
{
    char *addresses = NULL;
    size_t size;
    FILE *lines = open_memstream(&addresses, &size);
    if (lines == NULL)
        abort();
    loader_write_addresses(out, report, lines);
    loader_write_receivers(out, report, lines);
    fclose(lines);
    dprintf(out, "%s%s", addresses, report);
    free(addresses);
}

/* Writes what the script's files hold. Before the report, which has a hash of it. */
static bool loader_keep(struct script *script, int snapshot)
{
    return lseek(snapshot, 0, SEEK_SET) == 0 && ftruncate(snapshot, 0) == 0 &&
           script_snapshot(script, snapshot);
}

static void loader_run(const struct loader_config *config, pid_t master, int out)
{
    char *err = NULL;
    struct trial *trial = NULL;
    const char *bad = user_become(config->user);
    if (bad != NULL)
        loader_fail(out, bad, "");
    loader_end_with(master);
    log_capture_streams();
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    script_supervise_alone(out, "!");
    struct script *script = loader_load_script(config, &trial, &err);
    if (script == NULL)
        loader_fail(out, err, script_failed_files());
    if (config->snapshot > 0 && !loader_keep(script, config->snapshot))
        loader_fail(out, "what the script has loaded can't be kept for the workers", "");
    char *report = script_report(script, config->ini);
    if (report == NULL)
        loader_fail(out, "the settings could not be read", "");
    bool has_specs = config->trial && config->route->snapshot == 0;
    char *failed = has_specs ? script_check_tests(script) : NULL;
    if (failed != NULL)
        loader_fail(out, failed, report);
    bad = trial != NULL ? trial_start(trial) : NULL;
    if (bad != NULL)
        loader_fail(out, bad, report);
    log_say_left_out(true);
    loader_report(out, report);
    _exit(0);
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
    loader->pid = child_fork(ends);
    if (loader->pid == 0) {
        config->child(config->ctx);
        loader_run(config, master, ends[1]);
    }
    if (loader->pid < 0) {
        snprintf(loader->text, REPORT_MAX, "!no process for the loader: %s", strerror(errno));
        loader->pid = 0;
        return false;
    }
    loader->fd = ends[0];
    fcntl(loader->fd, F_SETFL, O_NONBLOCK);
    return true;
}

/* Ends the child after its report. It is killed, since the master would wait for ever for a child
 * that has closed the pipe and runs on, or that writes into a full pipe; a child that is ending
 * already keeps its own status. */
static void loader_end(struct loader *loader)
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
    loader_end(loader);
    if (full && loader->text[0] != '!')
        snprintf(loader->text, REPORT_MAX,
                 "!what the loader says of the script has no end: the route names more servers, "
                 "settings of PHP and files than can be kept track of");
    if (loader->text[0] != '!') {
        plan_read(plan, loader->text);
        return LOADER_DONE;
    }
    char *files = strchr(loader->text, FILES_FOLLOW);
    if (files != NULL) {
        *files = '\0';
        plan_read(plan, files + 1);
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
        loader_end(loader);
    free(loader->text);
    *loader = (struct loader){.pid = 0};
}
