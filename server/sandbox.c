#include "server/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <string.h>
#include <sys/prctl.h>

#include <seccomp.h>

enum {
    F = SANDBOX_FRONT,
    A = SANDBOX_ATTESTER,
    D = SANDBOX_ATTESTER_DEVICE,
    S = SANDBOX_SUPERVISOR,
    P = SANDBOX_PUBLISHER,
    ALL = F | A | D | S | P,
};

enum condition {
    ALWAYS,
    NOT_A_THREAD, /* clone without CLONE_THREAD */
    WRITE_ONLY,
    READ_WRITE,
    CREATE,
};

static const char *const condition_text[] = {
    [ALWAYS] = "",
    [NOT_A_THREAD] = " without CLONE_THREAD",
    [WRITE_ONLY] = " with O_WRONLY",
    [READ_WRITE] = " with O_RDWR",
    [CREATE] = " with O_CREAT",
};

struct rule {
    const char *call;
    unsigned roles;
    enum condition condition;
};

static const struct rule rules[] = {
    /* no other program, no other process */
    {"execve", ALL, ALWAYS},
    {"execveat", ALL, ALWAYS},
    {"fork", ALL, ALWAYS},
    {"vfork", ALL, ALWAYS},
    {"clone", ALL, NOT_A_THREAD},
    {"clone3", ALL, ALWAYS},
    {"kill", F | A | D | P, ALWAYS},
    {"pidfd_open", ALL, ALWAYS},
    {"pidfd_getfd", ALL, ALWAYS},
    {"pidfd_send_signal", ALL, ALWAYS},
    {"ptrace", ALL, ALWAYS},
    {"process_vm_readv", ALL, ALWAYS},
    {"process_vm_writev", ALL, ALWAYS},
    /* no way round this filter, no change of the machine */
    {"io_uring_setup", ALL, ALWAYS},
    {"bpf", ALL, ALWAYS},
    {"perf_event_open", ALL, ALWAYS},
    {"userfaultfd", ALL, ALWAYS},
    {"open_by_handle_at", ALL, ALWAYS},
    {"mount", ALL, ALWAYS},
    {"umount2", ALL, ALWAYS},
    {"pivot_root", ALL, ALWAYS},
    {"chroot", ALL, ALWAYS},
    {"setns", ALL, ALWAYS},
    {"unshare", ALL, ALWAYS},
    {"init_module", ALL, ALWAYS},
    {"finit_module", ALL, ALWAYS},
    {"kexec_load", ALL, ALWAYS},
    {"kexec_file_load", ALL, ALWAYS},
    {"keyctl", ALL, ALWAYS},
    /* the network: the front answers, the attester and the publisher are not reachable */
    {"socket", F | D | S, ALWAYS},
    {"socketpair", F | D | S, ALWAYS},
    {"connect", F | D | S, ALWAYS},
    {"bind", ALL, ALWAYS},
    {"listen", ALL, ALWAYS},
    {"accept", A | D | S | P, ALWAYS},
    {"accept4", A | D | S | P, ALWAYS},
    /* no open file for others: a GPU's driver in the front gives its own to who is our user */
    {"sendmsg", F, ALWAYS},
    {"sendmmsg", F, ALWAYS},
    /* prompts, and what the network says, reach no file */
    {"open", F | P, WRITE_ONLY},
    {"open", F | P, READ_WRITE},
    {"open", F | P, CREATE},
    {"openat", F | P, WRITE_ONLY},
    {"openat", F | P, READ_WRITE},
    {"openat", F | P, CREATE},
    {"openat2", F | P, ALWAYS},
    {"creat", F | P, ALWAYS},
    {"memfd_create", F | P, ALWAYS},
    {"mknod", F | P, ALWAYS},
    {"mknodat", F | P, ALWAYS},
    {"shmget", F | P, ALWAYS},
    {"mq_open", F | P, ALWAYS},
};
enum { N_RULES = sizeof rules / sizeof rules[0] };

static const struct {
    unsigned role;
    const char *name;
} roles[] = {{F, "front"},
             {A, "attester"},
             {D, "attester-with-device"},
             {S, "supervisor"},
             {P, "publisher"}};

void sandbox_text(struct buf *out)
{
    buf_append_str(out, "blindllama-sandbox/v1\n");
#ifdef SANDBOX_LEFT_OUT
    buf_append_str(out, "none: this build has AddressSanitizer, which a filter would break\n");
#else
    for (size_t r = 0; r < sizeof roles / sizeof roles[0]; r++) {
        for (size_t i = 0; i < N_RULES; i++) {
            if (rules[i].roles & roles[r].role)
                buf_printf(out, "%s deny %s%s\n", roles[r].name, rules[i].call,
                           condition_text[rules[i].condition]);
        }
    }
#endif
}

#ifdef SANDBOX_LEFT_OUT

struct err sandbox_enter(enum sandbox_role role)
{
    (void)role;
    (void)rules;
    (void)roles;
    (void)condition_text;
    return err_ok();
}

#else

static int add_rule(scmp_filter_ctx filter, const struct rule *rule)
{
    int call = seccomp_syscall_resolve_name(rule->call);
    if (call == __NR_SCMP_ERROR)
        return -ENOSYS;
    /* The flags are the second argument of open, the third of openat. */
    unsigned flags_at = strcmp(rule->call, "openat") == 0 ? 2 : 1;
    uint32_t action = SCMP_ACT_ERRNO(strcmp(rule->call, "clone3") == 0 ? ENOSYS : EPERM);
    switch (rule->condition) {
    case ALWAYS:
        break;
    case NOT_A_THREAD:
        return seccomp_rule_add(filter, action, call, 1,
                                SCMP_A0(SCMP_CMP_MASKED_EQ, CLONE_THREAD, 0));
    case WRITE_ONLY:
        return seccomp_rule_add(filter, action, call, 1,
                                SCMP_CMP(flags_at, SCMP_CMP_MASKED_EQ, O_ACCMODE, O_WRONLY));
    case READ_WRITE:
        return seccomp_rule_add(filter, action, call, 1,
                                SCMP_CMP(flags_at, SCMP_CMP_MASKED_EQ, O_ACCMODE, O_RDWR));
    case CREATE:
        return seccomp_rule_add(filter, action, call, 1,
                                SCMP_CMP(flags_at, SCMP_CMP_MASKED_EQ, O_CREAT, O_CREAT));
    }
    return seccomp_rule_add(filter, action, call, 0);
}

static struct err fill_and_load(scmp_filter_ctx filter, enum sandbox_role role)
{
    /* All threads, those of the engine too. */
    int rc = seccomp_attr_set(filter, SCMP_FLTATR_CTL_TSYNC, 1);
    for (size_t i = 0; rc == 0 && i < N_RULES; i++) {
        if (rules[i].roles & role)
            rc = add_rule(filter, &rules[i]);
        if (rc != 0)
            return err_set(ERR_UNSUPPORTED, "cannot deny %s: %s", rules[i].call, strerror(-rc));
    }
    if (rc == 0)
        rc = seccomp_load(filter);
    if (rc != 0)
        return err_set(
            ERR_UNSUPPORTED,
            "cannot install the sandbox: %s (the kernel must have CONFIG_SECCOMP_FILTER)",
            strerror(-rc));
    return err_ok();
}

struct err sandbox_enter(enum sandbox_role role)
{
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
        return err_errno("cannot set no_new_privs");
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
    if (filter == NULL)
        return err_set(ERR_MEMORY, "cannot make a seccomp filter");
    struct err e = fill_and_load(filter, role);
    seccomp_release(filter);
    return e;
}

#endif
