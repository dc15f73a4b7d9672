/* terminal - see terminal.h. */
#include "process/terminal.h"

#include "script/value.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

/* Another screen without a cursor, and back (xterm's control sequences). */
#define TERMINAL_ENTER "\033[?1049h\033[?25l"
#define TERMINAL_LEAVE "\033[?25h\033[?1049l"

static const int terminal_ending[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT};

static struct {
    struct termios before;
    volatile sig_atomic_t is_open;
    bool plain;
} terminal;

/* What follows is called by signal handlers as well: all of it is async-signal-safe. */

static void terminal_write(const char *text)
{
    if (!terminal.plain && write(STDOUT_FILENO, text, strlen(text)) < 0)
        return; /* nobody reads it any more */
}

static void terminal_enter(void)
{
    struct termios raw = terminal.before;
    raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
    raw.c_cc[VMIN] = 0;
    raw.c_cc[VTIME] = 0;
    tcsetattr(STDIN_FILENO, TCSADRAIN, &raw);
    terminal_write(TERMINAL_ENTER);
    terminal.is_open = 1;
}

static void terminal_leave(void)
{
    if (!terminal.is_open)
        return;
    terminal.is_open = 0;
    terminal_write(TERMINAL_LEAVE);
    tcsetattr(STDIN_FILENO, TCSADRAIN, &terminal.before);
}

static void terminal_handle(int signal, void (*handler)(int))
{
    struct sigaction action = {.sa_handler = handler};
    sigemptyset(&action.sa_mask);
    sigaction(signal, &action, NULL);
}

/* Does what the signal does by itself. */
static void terminal_default(int signal)
{
    sigset_t set;
    terminal_handle(signal, SIG_DFL);
    raise(signal);
    sigemptyset(&set);
    sigaddset(&set, signal);
    sigprocmask(SIG_UNBLOCK, &set, NULL);
}

static void terminal_on_end(int signal)
{
    terminal_leave();
    terminal_default(signal);
}

static void terminal_on_stop(int signal)
{
    int before = errno;
    terminal_leave();
    terminal_default(signal);
    /* The process goes on. */
    terminal_handle(signal, terminal_on_stop);
    terminal_enter();
    errno = before;
}

static void terminal_on_resize(int signal)
{
    (void)signal; /* it interrupts poll() */
}

/* --- for Lua --- */

static int terminal_open(lua_State *L)
{
    if (tcgetattr(STDIN_FILENO, &terminal.before) != 0 || !isatty(STDOUT_FILENO))
        return script_fail(L, "standard input and output are no terminal");
    terminal.plain = lua_toboolean(L, 1);
    static bool registered;
    if (!registered && atexit(terminal_leave) == 0)
        registered = true;
    for (unsigned i = 0; i < sizeof terminal_ending / sizeof *terminal_ending; i++)
        terminal_handle(terminal_ending[i], terminal_on_end);
    terminal_handle(SIGTSTP, terminal_on_stop);
    terminal_handle(SIGWINCH, terminal_on_resize);
    terminal_enter();
    lua_pushboolean(L, true);
    return 1;
}

static int terminal_size(lua_State *L)
{
    struct winsize size;
    bool known = ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_row > 0 && size.ws_col > 0;
    lua_pushinteger(L, known ? size.ws_row : 24);
    lua_pushinteger(L, known ? size.ws_col : 80);
    return 2;
}

static int terminal_read(lua_State *L)
{
    double seconds = luaL_checknumber(L, 1);
    luaL_argcheck(L, seconds >= 0 && seconds <= 3600, 1, "seconds from 0 to 3600");
    struct pollfd fd = {.fd = STDIN_FILENO, .events = POLLIN};
    char keys[64];
    int ready = poll(&fd, 1, (int)(seconds * 1000));
    ssize_t n = ready > 0 ? read(STDIN_FILENO, keys, sizeof keys) : 0;
    if ((ready > 0 && n == 0) || (n < 0 && errno != EINTR && errno != EAGAIN)) {
        lua_pushnil(L); /* the terminal has gone */
        return 1;
    }
    lua_pushlstring(L, keys, n > 0 ? (size_t)n : 0);
    return 1;
}

static int terminal_close(lua_State *L)
{
    (void)L;
    terminal_leave();
    return 0;
}

const luaL_Reg terminal_functions[] = {
    {"terminal_open", terminal_open},
    {"terminal_size", terminal_size},
    {"terminal_read", terminal_read},
    {"terminal_close", terminal_close},
    {NULL, NULL},
};
