/*
 * The file of a private key: one line "PRIVATE+KEY+...", readable by its owner alone. Making one
 * never replaces another, and what is made is on the disk before it is used.
 */
#include "transparency/note.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/crypto.h>

#include "common/file.h"
#include "common/hash.h"
#include "common/text.h"

enum { KEY_FILE_MAX = 1024 };
#define SECRET_BUF __attribute__((cleanup(buf_cleanup_secret))) struct buf

static struct err check_mode(int fd, const char *path)
{
    struct stat st;
    if (fstat(fd, &st) != 0)
        return err_errno("cannot look at %s", path);
    if (!S_ISREG(st.st_mode))
        return err_set(ERR_USAGE, "%s is not a file, so it is no key", path);
    if ((st.st_mode & (S_IRWXG | S_IRWXO)) != 0)
        return err_set(ERR_USAGE,
                       "%s holds a private key and has mode %04o, so others may reach it: if it "
                       "has stayed secret, run chmod 600 %s, else make a new key",
                       path, (unsigned)(st.st_mode & 07777), path);
    if (st.st_size > KEY_FILE_MAX)
        return err_set(ERR_MALFORMED, "%s is too large for a private key", path);
    return err_ok();
}

static struct err read_key_file(struct note_signer *out, int fd, const char *path)
{
    TRY(check_mode(fd, path));
    uint8_t data[KEY_FILE_MAX];
    size_t len = 0;
    ssize_t n = 1;
    while (len < sizeof data && n != 0) {
        n = read(fd, data + len, sizeof data - len);
        if (n < 0 && errno != EINTR) {
            OPENSSL_cleanse(data, sizeof data);
            return err_errno("cannot read %s", path);
        }
        len += n > 0 ? (size_t)n : 0;
    }
    if (len > 0 && data[len - 1] == '\n')
        len--;
    struct err e = note_skey_parse(out, bytes_of(data, len));
    OPENSSL_cleanse(data, sizeof data);
    return is_err(e) ? err_context(e, "%s", path) : e;
}

/* Makes the file unless another process was faster; either way a key is there afterwards. */
static struct err make_key_file(const char *path, const char *name, uint8_t type)
{
    uint8_t seed[ED25519_SEED_LEN];
    random_bytes(seed, sizeof seed);
    struct note_signer fresh;
    struct err e = note_signer_init(&fresh, name, type, seed);
    OPENSSL_cleanse(seed, sizeof seed);
    TRY(e);
    SECRET_BUF text = BUF_INIT;
    note_skey_format(&text, &fresh);
    buf_append_str(&text, "\n");
    note_signer_cleanup(&fresh);

    BUF_AUTO temp = BUF_INIT;
    buf_printf(&temp, "%s.new.%ld", path, (long)getpid());
    TRY(file_write_durable(buf_str(&temp), buf_bytes(&text), 0600));
    /* link, not rename: it refuses to replace a key that appeared meanwhile */
    int linked = link(buf_str(&temp), path);
    e = linked != 0 && errno != EEXIST ? err_errno("cannot make %s", path) : err_ok();
    unlink(buf_str(&temp));
    TRY(e);
    return dir_sync(path);
}

static struct err load(struct note_signer *out, const char *path, const char *name, uint8_t type,
                       bool create)
{
    FD_AUTO fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT && create) {
        TRY(make_key_file(path, name, type));
        fd = open(path, O_RDONLY | O_CLOEXEC);
    }
    if (fd < 0)
        return err_errno("cannot open the private key %s", path);
    struct note_signer signer;
    TRY(read_key_file(&signer, fd, path));
    char shown[84];
    struct err e = err_ok();
    if (strcmp(signer.key.name, name) != 0)
        e = err_set(ERR_USAGE, "%s is the key of '%s', not of '%s': name the file of the right key",
                    path, signer.key.name, printable(shown, bytes_of_str(name)));
    else if (type == NOTE_COSIGNATURE && signer.key.type != type)
        e = err_set(ERR_USAGE,
                    "%s is the key of a log or an activator: a witness has one of its own", path);
    else
        *out = signer;
    note_signer_cleanup(&signer);
    return e;
}

struct err note_signer_load(struct note_signer *out, const char *path, const char *name,
                            bool create)
{
    return load(out, path, name, NOTE_ED25519, create);
}

struct err note_cosigner_load(struct note_signer *out, const char *path, const char *name,
                              bool create)
{
    return load(out, path, name, NOTE_COSIGNATURE, create);
}
