/* SPDX-License-Identifier: MIT */
/* CPU quotas, found in recorded /proc and cgroup trees: cpu_count/<name>.tree.
 *
 * A .tree file is a comment and then files, each "== path" and its lines; a path that ends in "/" is a directory. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <dirent.h>
#include <errno.h>
#include <ftw.h>
#include <limits.h>
#include <sched.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../../src/platform/cpu_count.h"
#include "../harness/test.h"

/* ---- trees of files, each in a temporary directory of its own ---- */

struct tree {
    char root[256];
};

static void tree_new(struct tree *tree)
{
    const char *directory = getenv("TMPDIR");
    (void)snprintf(tree->root, sizeof tree->root, "%s/crew-cpu-count-XXXXXX", directory != NULL ? directory : P_tmpdir);
    CHECK(mkdtemp(tree->root) != NULL);
}

/* Makes every directory of `path` that ends in a slash. */
static void make_directories(char *path)
{
    for (char *slash = strchr(path + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        CHECK(mkdir(path, 0700) == 0 || errno == EEXIST);
        *slash = '/';
    }
}

/* Opens a new file of the tree; NULL for a directory. */
static FILE *tree_open(const struct tree *tree, const char *name)
{
    char path[PATH_MAX];
    int length = snprintf(path, sizeof path, "%s/%s", tree->root, name);
    CHECK(length > 0 && (size_t)length < sizeof path);
    make_directories(path);
    if (path[length - 1] == '/')
        return NULL;
    FILE *file = fopen(path, "w");
    CHECK(file != NULL);
    return file;
}

/* `content` NULL: no such file. */
static void tree_add(const struct tree *tree, const char *name, const char *content)
{
    if (content == NULL)
        return;
    FILE *file = tree_open(tree, name);
    CHECK(fputs(content, file) >= 0);
    CHECK_EQ(fclose(file), 0);
}

static FILE *open_recorded(const char *name)
{
    char path[PATH_MAX];
    const char *slash = strrchr(__FILE__, '/');
    int directory = slash != NULL ? (int)(slash - __FILE__) : 0;
    (void)snprintf(path, sizeof path, "%.*s/cpu_count/%s.tree", directory, __FILE__, name);
    FILE *file = fopen(slash != NULL ? path : path + 1, "r");
    if (file == NULL)
        test_fail(__FILE__, __LINE__, "no %s: run where it was compiled", path);
    return file;
}

static void tree_unpack(const struct tree *tree, const char *name)
{
    FILE *recorded = open_recorded(name), *file = NULL;
    char line[1024];
    while (fgets(line, sizeof line, recorded) != NULL) {
        if (strncmp(line, "== ", 3) == 0) {
            line[strcspn(line, "\n")] = '\0';
            if (file != NULL)
                CHECK_EQ(fclose(file), 0);
            file = tree_open(tree, line + 3);
        } else if (file != NULL) {
            CHECK(fputs(line, file) >= 0);
        }
    }
    if (file != NULL)
        CHECK_EQ(fclose(file), 0);
    CHECK_EQ(fclose(recorded), 0);
}

static int remove_entry(const char *path, const struct stat *status, int kind, struct FTW *place)
{
    (void)status, (void)kind, (void)place;
    return remove(path);
}

/* The count in this tree, which is removed. */
static unsigned tree_count(const struct tree *tree, unsigned affinity)
{
    unsigned count = crewi_cpu_count_from(tree->root, affinity);
    CHECK_EQ(nftw(tree->root, remove_entry, 8, FTW_DEPTH | FTW_PHYS), 0);
    return count;
}

/* The count in a recorded tree on a machine with 8 CPUs. */
static unsigned recorded_count(const char *name)
{
    struct tree tree;
    tree_new(&tree);
    tree_unpack(&tree, name);
    return tree_count(&tree, 8);
}

static const char v2_mount[] = "30 23 0:26 / /cg rw - cgroup2 cgroup2 rw\n";
static const char v1_mount[] = "30 23 0:26 / /cg rw - cgroup cgroup rw,cpu\n";

/* With 8 CPUs and this in the only cgroup's cpu.max. */
static unsigned v2_count(const char *cpu_max)
{
    struct tree tree;
    tree_new(&tree);
    tree_add(&tree, "proc/self/cgroup", "0::/job\n");
    tree_add(&tree, "proc/self/mountinfo", v2_mount);
    tree_add(&tree, "cg/job/cpu.max", cpu_max);
    return tree_count(&tree, 8);
}

static unsigned v1_count(const char *quota, const char *period)
{
    struct tree tree;
    tree_new(&tree);
    tree_add(&tree, "proc/self/cgroup", "1:cpu:/job\n");
    tree_add(&tree, "proc/self/mountinfo", v1_mount);
    tree_add(&tree, "cg/job/cpu.cfs_quota_us", quota);
    tree_add(&tree, "cg/job/cpu.cfs_period_us", period);
    return tree_count(&tree, 8);
}

/* ---- quotas: the recorded trees say why each count is right ---- */

TEST(v1_quota_of_the_cpu_controller_alone_counts)
{
    CHECK_EQ(recorded_count("v1"), 2); /* 1.5, rounded up */
}

TEST(v1_without_quotas_leaves_the_affinity)
{
    CHECK_EQ(recorded_count("v1_unlimited"), 8);
}

TEST(v1_controllers_mounted_together_are_told_apart_and_the_slice_decides)
{
    CHECK_EQ(recorded_count("v1_comounted"), 3); /* 125000 / 50000 */
}

TEST(v1_container_is_found_below_its_mount_root)
{
    CHECK_EQ(recorded_count("v1_container"), 3); /* of the mount itself */
}

TEST(v2_quota_of_the_own_cgroup_counts)
{
    CHECK_EQ(recorded_count("v2"), 4);
}

TEST(v2_tightest_ancestor_decides)
{
    CHECK_EQ(recorded_count("v2_nested"), 3); /* 2.2, in the middle of the way */
}

TEST(v2_container_is_found_at_its_mount_root)
{
    CHECK_EQ(recorded_count("v2_container"), 5); /* 4.5 */
}

TEST(v2_container_in_its_own_namespace_is_found_at_the_root)
{
    CHECK_EQ(recorded_count("v2_namespace"), 3); /* 2.5 */
}

TEST(v2_mount_of_another_cgroup_says_nothing)
{
    CHECK_EQ(recorded_count("v2_not_below_mount"), 8); /* all decoys say 1 */
    CHECK_EQ(recorded_count("v2_mount_of_sibling"), 8);
}

TEST(v2_process_outside_of_its_namespace_does_not_leave_the_mount)
{
    CHECK_EQ(recorded_count("v2_outside_namespace"), 8); /* all decoys say 1 */
}

TEST(v2_mount_from_above_the_namespace_counts_as_an_ancestor)
{
    CHECK_EQ(recorded_count("v2_mounted_from_above"), 3);
}

TEST(v2_sibling_of_the_namespace_is_found_in_a_mount_from_above)
{
    CHECK_EQ(recorded_count("v2_sibling_of_namespace"), 2);
}

TEST(v2_process_above_the_mount_has_no_limit_from_it)
{
    CHECK_EQ(recorded_count("v2_above_mount"), 8); /* all decoys say 1 */
}

TEST(hybrid_reads_the_version_that_has_the_controller)
{
    CHECK_EQ(recorded_count("hybrid"), 3);                 /* 2.01, from v1 */
    CHECK_EQ(recorded_count("hybrid_unified_decides"), 3); /* from v2 */
}

TEST(hierarchy_mounted_twice_is_read_in_both_places)
{
    CHECK_EQ(recorded_count("mounted_twice"), 2); /* of an ancestor that only the second mount shows */
}

TEST(removed_cgroup_leaves_its_ancestors)
{
    CHECK_EQ(recorded_count("removed_cgroup"), 2);
}

TEST(machine_without_cgroups_has_its_affinity)
{
    CHECK_EQ(recorded_count("no_cgroups"), 8);
}

TEST(machine_without_proc_has_its_affinity)
{
    struct tree tree;
    tree_new(&tree);
    CHECK_EQ(tree_count(&tree, 8), 8);
}

TEST(broken_lines_are_passed_over)
{
    CHECK_EQ(recorded_count("broken_files"), 3); /* the only whole line of each file */
}

TEST(unreadable_files_limit_nothing)
{
    CHECK_EQ(recorded_count("broken_unreadable"), 4); /* the ancestor's, which can be read */
}

/* ---- from quota and period to a count ---- */

TEST(v2_quota_is_rounded_up)
{
    static const struct {
        const char *cpu_max;
        unsigned count;
    } cases[] = {
        {"max 100000\n", 8},
        {"1000 1000000\n", 1}, /* the smallest there is: still one CPU */
        {"99999 100000\n", 1},
        {"100000 100000\n", 1},
        {"100001 100000\n", 2},
        {"250000 100000\n", 3},
        {"10000 3000\n", 4}, /* 3.33 */
        {"700000 100000\n", 7},
        {"700001 100000\n", 8},
        {"900000 100000\n", 8},          /* never above the affinity */
        {"429496729600000 100000\n", 8}, /* 2^32 CPUs: does not wrap to 0 */
        {"429496729700000 100000\n", 8}, /* 2^32 + 1: nor to 1 */
        {"18446744073709551615 1\n", 8},
        {"18446744073709551615 9223372036854775808\n", 2}, /* rounding up overflows nothing */
        {"18446744073709551615 18446744073709551615\n", 1},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; ++i)
        if (v2_count(cases[i].cpu_max) != cases[i].count)
            test_fail(__FILE__, __LINE__, "%u CPUs for %s", v2_count(cases[i].cpu_max), cases[i].cpu_max);
}

static void check_unlimited(const char *const *contents, size_t count)
{
    for (size_t i = 0; i < count; ++i)
        if (v2_count(contents[i]) != 8)
            test_fail(__FILE__, __LINE__, "%u CPUs for \"%s\"", v2_count(contents[i]), contents[i]);
}

TEST(v2_without_a_whole_quota_and_period_is_unlimited)
{
    static const char *const contents[] = {"",
                                           "\n",
                                           "max",
                                           "max\n",
                                           "max max\n",
                                           "garbage\n",
                                           "\n100000 100000\n",
                                           "100000\n",
                                           "100000 \n",
                                           "100000 max\n",
                                           "100000x100000\n",
                                           "100000\t100000\n",
                                           "100000 1000",
                                           "100000 100000"};
    check_unlimited(contents, sizeof contents / sizeof *contents);
    CHECK_EQ(v2_count(NULL), 8); /* no such file */
}

TEST(v2_quota_or_period_that_is_no_positive_number_is_unlimited)
{
    static const char *const contents[] = {
        "0 100000\n",       "00 100000\n",      "-1 100000\n",      "-100000 100000\n",  "+100000 100000\n",
        "100000 0\n",       "100000 -1\n",      "100000 -100000\n", "100000 +100000\n",  " 100000 100000\n",
        "100000  100000\n", "100000x 100000\n", "100000 100000x\n", "100000 100000 1\n", "1e5 100000\n",
        "0x1 1\n",          "1.0 1\n"};
    check_unlimited(contents, sizeof contents / sizeof *contents);
}

TEST(v2_quota_or_period_beyond_64_bits_is_unlimited)
{
    static const char *const contents[] = {
        "18446744073709651616 100000\n", /* 2^64 + 100000 */
        "100000 18446744073709651616\n",
        "9999999999999999999999999999999999999999999999999999999999999999999999 1\n", /* longer than any file */
        "1 9999999999999999999999999999999999999999999999999999999999999999999999\n",
    };
    check_unlimited(contents, sizeof contents / sizeof *contents);
}

TEST(v1_quota_is_rounded_up)
{
    CHECK_EQ(v1_count("50000\n", "100000\n"), 1);
    CHECK_EQ(v1_count("100000\n", "100000\n"), 1);
    CHECK_EQ(v1_count("100001\n", "100000\n"), 2);
    CHECK_EQ(v1_count("250000\n", "100000\n"), 3);
    CHECK_EQ(v1_count("35000\n", "10000\n"), 4);
    CHECK_EQ(v1_count("9223372036854775807\n", "1\n"), 8);
}

TEST(v1_broken_or_absent_quota_limits_nothing)
{
    static const char *const broken[] = {
        NULL,     "",          "\n",        "-1\n",  "0\n",        "-100000\n",
        "100000", "100000x\n", "garbage\n", "1e5\n", "100000 1\n", "18446744073709651616\n",
    };
    for (size_t i = 0; i < sizeof broken / sizeof *broken; ++i) {
        CHECK_EQ(v1_count(broken[i], "100000\n"), 8);
        CHECK_EQ(v1_count("100000\n", broken[i]), 8);
    }
}

TEST(there_is_always_one_cpu)
{
    struct tree tree;
    tree_new(&tree);
    CHECK_EQ(tree_count(&tree, 0), 1);
}

/* ---- names ---- */

TEST(escaped_names_are_read_as_what_they_stand_for)
{
    CHECK_EQ(recorded_count("escaped"), 6);
}

TEST(every_byte_that_mountinfo_escapes_is_understood)
{
    static const struct {
        const char *escaped, *directory;
    } cases[] = {{"\\040", " "}, {"\\011", "\t"}, {"\\012", "\n"}, {"\\134", "\\"}, {"\\043", "#"}, {"\\377", "\377"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; ++i) {
        struct tree tree;
        char mountinfo[128], quota[32];
        (void)snprintf(mountinfo, sizeof mountinfo, "1 2 3 / /%s rw - cgroup2 none rw\n", cases[i].escaped);
        (void)snprintf(quota, sizeof quota, "%s/cpu.max", cases[i].directory);
        tree_new(&tree);
        tree_add(&tree, "proc/self/cgroup", "0::/\n");
        tree_add(&tree, "proc/self/mountinfo", mountinfo);
        tree_add(&tree, quota, "300000 100000\n");
        CHECK_EQ(tree_count(&tree, 8), 3);
    }
}

static void put_repeated(FILE *file, const char *text, unsigned times)
{
    while (times-- > 0)
        CHECK(fputs(text, file) >= 0);
}

TEST(lines_and_paths_may_have_any_length)
{
    struct tree tree;
    tree_new(&tree);
    FILE *cgroup = tree_open(&tree, "proc/self/cgroup"); /* the own directory is beyond PATH_MAX, an ancestor is not */
    (void)fputs("7:memory:", cgroup);
    put_repeated(cgroup, "/of-another-controller", 5000);
    (void)fputs("\n0::/top", cgroup);
    put_repeated(cgroup, "/a-level-of-many", 1000);
    CHECK_EQ(fclose(cgroup), 0); /* and the last line has no end */
    FILE *mountinfo = tree_open(&tree, "proc/self/mountinfo");
    (void)fputs("600 599 0:50 / / rw - overlay overlay rw,lowerdir=", mountinfo);
    put_repeated(mountinfo, "/a/layer:", 20000);
    (void)fputs("\n30 23 0:26 / /cg rw", mountinfo);
    put_repeated(mountinfo, " shared:7", 5000);
    (void)fputs(" - cgroup2 cgroup2 rw", mountinfo);
    CHECK_EQ(fclose(mountinfo), 0);
    tree_add(&tree, "cg/top/cpu.max", "200000 100000\n");
    CHECK_EQ(tree_count(&tree, 8), 2);
}

TEST(root_that_is_too_long_is_as_none)
{
    static char root[3 * PATH_MAX];
    memset(root, 'x', sizeof root - 1);
    CHECK_EQ(crewi_cpu_count_from(root, 8), 8);
}

/* ---- the system's own files ---- */

enum { NO_CHROOT = 99 };

/* What crew_cpu_count says where `root` is the root directory, asked by a child process. */
static int count_inside(const char *root)
{
    unsigned count = 0;
    int status = 0;
    pid_t child = fork();
    if (child == 0) {
        (void)unsetenv("CREW_CPU_COUNT");
        if (chroot(root) != 0 && (unshare(CLONE_NEWUSER) != 0 || chroot(root) != 0))
            _exit(NO_CHROOT);
        _exit(crew_cpu_count(&count, NULL) == CREW_OK ? (int)count : 0);
    }
    CHECK(child > 0 && waitpid(child, &status, 0) == child && WIFEXITED(status));
    return WEXITSTATUS(status);
}

TEST(public_function_reads_the_files_of_the_system)
{
    struct tree tree;
    tree_new(&tree);
    tree_add(&tree, "proc/self/cgroup", "0::/job\n");
    tree_add(&tree, "proc/self/mountinfo", v2_mount);
    tree_add(&tree, "cg/job/cpu.max", "50000 100000\n");
    int inside = count_inside(tree.root);
    CHECK_EQ(tree_count(&tree, 8), 1);
    if (inside == NO_CHROOT)
        test_skip("chroot is not allowed here");
    CHECK_EQ(inside, 1);
}

/* ---- descriptors ---- */

static unsigned descriptors_open(void)
{
    unsigned count = 0;
    DIR *directory = opendir("/proc/self/fd");
    CHECK(directory != NULL);
    while (readdir(directory) != NULL)
        ++count;
    (void)closedir(directory);
    return count;
}

TEST(counting_leaves_no_descriptor_open)
{
    unsigned before = descriptors_open();
    (void)recorded_count("v1");
    (void)recorded_count("v2_nested");
    (void)recorded_count("broken_files");
    (void)recorded_count("broken_unreadable");
    CHECK_EQ(descriptors_open(), before);
}
