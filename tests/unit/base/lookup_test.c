/*
 * lookup_test - no way out of the root, also where something else lies at a path that is known.
 * Links lookup, finding and str.
 */
#include "../test.h"
#include "base/lookup.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static char dir[256], root[300];

static void make_file(const char *name)
{
    char path[400];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    int fd = open(path, O_CREAT | O_WRONLY | O_TRUNC, 0644);
    check(fd >= 0 && write(fd, "text", 4) == 4);
    close(fd);
}

static void make_folder(const char *name)
{
    char path[400];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    check(mkdir(path, 0755) == 0);
}

static void make_link(const char *to, const char *name)
{
    char path[400];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    check(symlink(to, path) == 0);
}

static void rename_to(const char *from, const char *to)
{
    char a[400], b[400];
    snprintf(a, sizeof a, "%s/%s", dir, from);
    snprintf(b, sizeof b, "%s/%s", dir, to);
    check(rename(a, b) == 0);
}

static enum lookup_kind probe(const char *path)
{
    return lookup_probe(str_of(root), str_of(path), NULL, 0);
}

/* Until what has been made so far is old enough to be kept. */
static void wait_until_settled(void)
{
    struct timespec from, now, pause = {.tv_nsec = 50 * 1000 * 1000};
    clock_gettime(CLOCK_REALTIME, &from);
    do {
        nanosleep(&pause, NULL);
        clock_gettime(CLOCK_REALTIME, &now);
    } while (now.tv_sec < from.tv_sec + 3);
}

static void test_kinds(void)
{
    test("what lies at a path");
    check_int(probe("/a.php"), LOOKUP_FILE);
    check_int(probe("/a.php"), LOOKUP_FILE);
    check_int(probe("/folder"), LOOKUP_FOLDER);
    check_int(probe("/folder/"), LOOKUP_FOLDER);
    check_int(probe("/nothing"), LOOKUP_NONE);
    check_int(probe("/a.php/below"), LOOKUP_NONE);
    check_int(probe(""), LOOKUP_FOLDER);
    check_int(lookup_probe(str_of(root), (struct str){"/a.php\0x", 8}, NULL, 0), LOOKUP_NONE);
}

static void test_outside(void)
{
    struct str inside[] = {str_of(root), str_of(dir)};
    test("no way out");
    for (int i = 0; i < 2; i++) {
        check_int(probe("/../secret"), LOOKUP_OUTSIDE);
        check_int(probe("/out"), LOOKUP_OUTSIDE);
        check_int(probe("/beside/secret"), LOOKUP_OUTSIDE);
        check_int(probe("/in"), LOOKUP_FILE);
        check_int(lookup_probe(str_of(root), STR("/out"), inside, 2), LOOKUP_FILE);
    }
}

/* The findings of the paths above are kept now. */
static void test_changes(void)
{
    test("a file is replaced by a symlink that leads out");
    check_int(probe("/b.php"), LOOKUP_FILE);
    rename_to("root/out", "root/b.php");
    check_int(probe("/b.php"), LOOKUP_OUTSIDE);
    test("the same file comes to lie outside, with a symlink to it");
    check_int(probe("/c.php"), LOOKUP_FILE);
    rename_to("root/c.php", "c.php");
    make_link("../c.php", "root/c.php");
    check_int(probe("/c.php"), LOOKUP_OUTSIDE);
    test("a file becomes a folder, and goes");
    check_int(probe("/folder/d.php"), LOOKUP_FILE);
    rename_to("root/folder", "root/gone");
    check_int(probe("/folder/d.php"), LOOKUP_NONE);
    make_folder("root/folder");
    make_folder("root/folder/d.php");
    check_int(probe("/folder/d.php"), LOOKUP_FOLDER);
}

static void test_turns(void)
{
    test("within a turn the answer stands, and what is not there, too");
    make_file("root/e.php");
    lookup_begin_turn();
    check_int(probe("/e.php"), LOOKUP_FILE);
    check_int(probe("/f.php"), LOOKUP_NONE);
    check_int(probe("/b.php"), LOOKUP_OUTSIDE);
    rename_to("root/e.php", "root/f.php");
    check_int(probe("/e.php"), LOOKUP_FILE);
    check_int(probe("/f.php"), LOOKUP_NONE);
    test("in the next one what has changed is seen");
    lookup_begin_turn();
    check_int(probe("/e.php"), LOOKUP_NONE);
    check_int(probe("/f.php"), LOOKUP_FILE);
    make_file("root/e.php");
    lookup_begin_turn();
    check_int(probe("/e.php"), LOOKUP_FILE);
    test("places that share a path and differ in root or within are apart");
    struct str inside[] = {str_of(root), str_of(dir)};
    check_int(lookup_probe(str_of(root), STR("/b.php"), inside, 2), LOOKUP_FILE);
    check_int(probe("/b.php"), LOOKUP_OUTSIDE);
    check_int(lookup_probe(str_of(dir), STR("/a.php"), NULL, 0), LOOKUP_NONE);
    check_int(probe("/a.php"), LOOKUP_FILE);
    check_int(lookup_probe(str_of(root), (struct str){"/a.php\0x", 8}, NULL, 0), LOOKUP_NONE);
    check_int(probe("/a.php"), LOOKUP_FILE);
}

/* More places than there are slots: none is taken for another one. */
static void test_many(void)
{
    char path[64];
    test("many places");
    for (int turns = 0; turns < 2; turns++) {
        lookup_begin_turn();
        for (int i = 0; i < 40000; i++) {
            snprintf(path, sizeof path, "/no/%d", i);
            if (i % 4 == 0)
                check_int(probe("/folder/d.php"), LOOKUP_FOLDER);
            else if (probe(path) != LOOKUP_NONE)
                check_int(i, -1);
        }
    }
}

static void test_roots(void)
{
    char path[400], real[4096], text[400];
    test("a root behind a symlink");
    make_folder("releases");
    make_folder("releases/1");
    make_folder("releases/2");
    make_folder("releases/1/web");
    make_folder("releases/2/web");
    make_link("releases/1", "current");
    wait_until_settled();
    snprintf(path, sizeof path, "%s/current/web", dir);
    for (int i = 0; i < 3; i++) {
        lookup_begin_turn();
        check(realpath(path, real) != NULL);
        check_str(lookup_real_root(str_of(path)), real);
    }
    test("the symlink is switched: seen in the next turn");
    make_link("releases/2", "next");
    rename_to("next", "current");
    check_str(lookup_real_root(str_of(path)), real);
    lookup_begin_turn();
    check(realpath(path, real) != NULL);
    check_str(lookup_real_root(str_of(path)), real);
    test("a script that both releases share by a hard link does not hide that");
    char first[400], second[400];
    make_file("releases/1/web/index.php");
    snprintf(first, sizeof first, "%s/releases/1/web/index.php", dir);
    snprintf(second, sizeof second, "%s/releases/2/web/index.php", dir);
    check(link(first, second) == 0);
    wait_until_settled();
    for (int i = 0; i < 3; i++) {
        lookup_begin_turn();
        check_int(lookup_probe(str_of(path), STR("/index.php"), NULL, 0), LOOKUP_FILE);
        check_str(lookup_real_root(str_of(path)), real);
    }
    make_link("releases/1", "next");
    rename_to("next", "current");
    lookup_begin_turn();
    check_int(lookup_probe(str_of(path), STR("/index.php"), NULL, 0), LOOKUP_FILE);
    check(realpath(path, real) != NULL && strstr(real, "releases/1") != NULL);
    check_str(lookup_real_root(str_of(path)), real);
    make_link("releases/2", "next");
    rename_to("next", "current");
    lookup_begin_turn();
    check(realpath(path, real) != NULL);
    check_str(lookup_real_root(str_of(path)), real);
    test("a folder on the way is renamed, and the root is the same one");
    lookup_begin_turn();
    check_str(lookup_real_root(str_of(path)), real);
    rename_to("releases/2", "releases/good");
    make_link("releases/good", "next");
    rename_to("next", "current");
    lookup_begin_turn();
    check(realpath(path, real) != NULL);
    snprintf(text, sizeof text, "%s", lookup_real_root(str_of(path)).p);
    check_str(str_of(text), real);
    check(strstr(real, "good") != NULL);
    check_str(lookup_real_root(STR("/no/such/root")), "/no/such/root");
    check_str(lookup_real_root(STR("")), "");
}

/* While the root is unchanged for a second it vouches for its entries, and not beyond. */
static void test_entries(void)
{
    char link[400];
    make_folder("site");
    make_folder("site/sub");
    make_file("site/index.php");
    make_file("site/sub/x.php");
    make_file("elsewhere");
    make_link("site", "live");
    make_link("sub", "site/linked");
    make_link("later", "site/dangling");
    wait_until_settled();
    for (int i = 0; i < 2; i++) {
        snprintf(link, sizeof link, "%s/%s", dir, i == 0 ? "site" : "live");
        struct str site = str_of(link);
        test("entries, looked at again and again");
        for (int turns = 0; turns < 4; turns++) {
            lookup_begin_turn();
            check_int(lookup_probe(site, STR("/index.php"), NULL, 0), LOOKUP_FILE);
            check_int(lookup_probe(site, STR("/index.php/x"), NULL, 0), LOOKUP_NONE);
            check_int(lookup_probe(site, STR("/sub"), NULL, 0), LOOKUP_FOLDER);
            check_int(lookup_probe(site, STR("/sub/x.php"), NULL, 0), LOOKUP_FILE);
            check_int(lookup_probe(site, STR("/linked/x.php"), NULL, 0), LOOKUP_FILE);
            check_int(lookup_probe(site, STR("/new"), NULL, 0), LOOKUP_NONE);
            check_int(lookup_probe(site, STR("/new/x.php"), NULL, 0), LOOKUP_NONE);
            check_int(lookup_probe(site, STR("/dangling"), NULL, 0), LOOKUP_NONE);
            check_int(lookup_probe(site, STR("/./index.php"), NULL, 0), LOOKUP_FILE);
        }
        test("what a symlink in the root leads to comes without a change of the root");
        make_file("site/sub/later");
        rename_to("site/sub/later", "later");
        rename_to("later", "site/sub/y.php");
        lookup_begin_turn();
        check_int(lookup_probe(site, STR("/sub/y.php"), NULL, 0), LOOKUP_FILE);
        check_int(lookup_probe(site, STR("/linked/y.php"), NULL, 0), LOOKUP_FILE);
        test("an entry is replaced, another one made, seen in the next turn");
        rename_to("site/index.php", "index.php");
        make_link("../elsewhere", "site/index.php");
        make_folder("site/new");
        make_file("site/new/x.php");
        lookup_begin_turn();
        check_int(lookup_probe(site, STR("/index.php"), NULL, 0), LOOKUP_OUTSIDE);
        check_int(lookup_probe(site, STR("/new"), NULL, 0), LOOKUP_FOLDER);
        check_int(lookup_probe(site, STR("/new/x.php"), NULL, 0), LOOKUP_FILE);
        test("and back, within the second in which the root vouches for nothing");
        rename_to("site/new", "gone");
        rename_to("index.php", "site/index.php");
        lookup_begin_turn();
        check_int(lookup_probe(site, STR("/index.php"), NULL, 0), LOOKUP_FILE);
        check_int(lookup_probe(site, STR("/new/x.php"), NULL, 0), LOOKUP_NONE);
        rename_to("gone", "site/new");
        lookup_begin_turn();
        check_int(lookup_probe(site, STR("/new/x.php"), NULL, 0), LOOKUP_FILE);
        rename_to("site/new", i == 0 ? "first" : "second");
        wait_until_settled();
    }
    test("the root's symlink is switched to a folder with the same file and other entries");
    struct str site = str_of(link);
    lookup_begin_turn();
    check_int(lookup_probe(site, STR("/index.php"), NULL, 0), LOOKUP_FILE);
    check_int(lookup_probe(site, STR("/sub"), NULL, 0), LOOKUP_FOLDER);
    make_link("first", "next");
    rename_to("next", "live");
    lookup_begin_turn();
    check_int(lookup_probe(site, STR("/index.php"), NULL, 0), LOOKUP_NONE);
    check_int(lookup_probe(site, STR("/sub"), NULL, 0), LOOKUP_NONE);
    check_int(lookup_probe(site, STR("/x.php"), NULL, 0), LOOKUP_FILE);
}

static void remove_all(void)
{
    char command[300];
    snprintf(command, sizeof command, "rm -rf '%s'", dir);
    check(system(command) == 0);
}

int main(void)
{
    const char *tmp = getenv("TMPDIR");
    snprintf(dir, sizeof dir, "%s/lookup-XXXXXX", tmp != NULL ? tmp : "/tmp");
    check(mkdtemp(dir) != NULL);
    snprintf(root, sizeof root, "%s/root", dir);
    make_folder("root");
    make_folder("other");
    make_folder("root/folder");
    make_file("secret");
    make_file("root/a.php");
    make_file("root/b.php");
    make_file("root/c.php");
    make_file("root/folder/d.php");
    make_link("../secret", "root/out");
    make_link("..", "root/beside");
    make_link("a.php", "root/in");
    test_kinds();
    test_outside();
    wait_until_settled();
    test_kinds();
    test_outside();
    test_changes();
    test_turns();
    test_roots();
    test_entries();
    test_many();
    remove_all();
    return test_report();
}
