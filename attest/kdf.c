#include "attest/kdf.h"

#include <string.h>

#include <openssl/crypto.h>
#include <openssl/hmac.h>

#define BUF_SECRET __attribute__((cleanup(buf_cleanup_secret))) struct buf

static void append_label(struct buf *b, const char *label)
{
    buf_append(b, label, strlen(label) + 1);
}

static void copy_block(uint8_t *out, size_t len, size_t done, const uint8_t *block,
                       size_t block_len)
{
    memcpy(out + done, block, len - done < block_len ? len - done : block_len);
}

struct err kdf_a(uint8_t *out, size_t len, const EVP_MD *md, struct bytes key, const char *label,
                 struct bytes context_u, struct bytes context_v)
{
    size_t block_len = (size_t)EVP_MD_get_size(md);
    uint8_t block[EVP_MAX_MD_SIZE];
    uint32_t counter = 0;
    for (size_t done = 0; done < len; done += block_len) {
        BUF_SECRET message = BUF_INIT;
        buf_append_u32be(&message, ++counter);
        append_label(&message, label);
        buf_append_bytes(&message, context_u);
        buf_append_bytes(&message, context_v);
        buf_append_u32be(&message, (uint32_t)len * 8);
        unsigned n = 0;
        if (HMAC(md, key.data, (int)key.len, message.data, message.len, block, &n) == NULL)
            return err_set(ERR_MEMORY, "OpenSSL cannot compute an HMAC");
        copy_block(out, len, done, block, block_len);
    }
    OPENSSL_cleanse(block, sizeof block);
    return err_ok();
}

struct err kdf_e(uint8_t *out, size_t len, const EVP_MD *md, struct bytes z, const char *label,
                 struct bytes party_u, struct bytes party_v)
{
    size_t block_len = (size_t)EVP_MD_get_size(md);
    uint8_t block[EVP_MAX_MD_SIZE];
    uint32_t counter = 0;
    for (size_t done = 0; done < len; done += block_len) {
        BUF_SECRET message = BUF_INIT;
        buf_append_u32be(&message, ++counter);
        buf_append_bytes(&message, z);
        append_label(&message, label);
        buf_append_bytes(&message, party_u);
        buf_append_bytes(&message, party_v);
        if (EVP_Digest(message.data, message.len, block, NULL, md, NULL) != 1)
            return err_set(ERR_MEMORY, "OpenSSL cannot compute a digest");
        copy_block(out, len, done, block, block_len);
    }
    OPENSSL_cleanse(block, sizeof block);
    return err_ok();
}
