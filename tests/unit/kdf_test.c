/* KDFa and KDFe against values computed with Python's cryptography (KBKDFHMAC, ConcatKDFHash). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "attest/kdf.h"
#include "tests/unit/swtpm_vectors.h"

static void assert_hex(const uint8_t *data, size_t len, const char *hex)
{
    BUF_AUTO told = BUF_INIT;
    buf_append_hex(&told, bytes_of(data, len));
    assert_string_equal(buf_str(&told), hex);
}

static void kdf_a_gives_the_known_keys(void **state)
{
    (void)state;
    uint8_t seed[48], name[34] = {0x00, 0x0b}, out[80];
    for (size_t i = 0; i < sizeof seed; i++)
        seed[i] = (uint8_t)i;
    for (size_t i = 0; i < 32; i++)
        name[2 + i] = (uint8_t)(100 + i);
    struct bytes seed32 = bytes_of(seed, 32), seed48 = bytes_of(seed, 48);
    struct bytes ak = bytes_of(name, sizeof name), none = {0};
    assert_false(is_err(kdf_a(out, 16, EVP_sha256(), seed32, "STORAGE", ak, none)));
    assert_hex(out, 16, "d98939313878365f823837e2ce0286ca");
    assert_false(is_err(kdf_a(out, 32, EVP_sha256(), seed32, "INTEGRITY", none, none)));
    assert_hex(out, 32, "bacf689f634ece301e1f1b15b072d9c87db6a69585db42b1a0cb8f73ebe2692e");
    assert_false(is_err(kdf_a(out, 32, EVP_sha384(), seed48, "STORAGE", ak, none)));
    assert_hex(out, 32, "2677b68d80fc13c3d904899ba951d8bce06dea58c4beb1b7bcc8320f1d4aab21");
    assert_false(is_err(kdf_a(out, 48, EVP_sha384(), seed48, "INTEGRITY", none, none)));
    assert_hex(
        out, 48,
        "f33d1615c2266b2fa774ff368d6ce3af9d8c0b4227e57eb3e28b810755366e9a668857315ae51d8d7cfac9"
        "2bb0485639");
    assert_false(is_err(
        kdf_a(out, 80, EVP_sha256(), seed32, "LONG", bytes_of_str("ab"), bytes_of_str("cde"))));
    assert_hex(
        out, 80,
        "c0f4132e761864b078003957e1c4a08b1e40e2ba07c6c18cb11bf0555dd2dff116e717f740175f6557a76c"
        "99891722d4754339694d610c8db7784326c58b96adf2e7e4e49131ce4e7a7baeeb0b0e7984");
}

static void kdf_e_gives_the_known_seeds(void **state)
{
    (void)state;
    uint8_t x[48], y[48], z[48], out[48];
    memset(x, 1, sizeof x);
    memset(y, 2, sizeof y);
    memset(z, 3, sizeof z);
    assert_false(is_err(kdf_e(out, 32, EVP_sha256(), bytes_of(z, 32), "IDENTITY", bytes_of(x, 32),
                              bytes_of(y, 32))));
    assert_hex(out, 32, "487e6bc56a261036ad8a075764c6cfec26749ba98169e919edbed3ae369f7c3f");
    assert_false(is_err(kdf_e(out, 48, EVP_sha384(), bytes_of(z, 48), "IDENTITY", bytes_of(x, 48),
                              bytes_of(y, 48))));
    assert_hex(
        out, 48,
        "1514b817eb7326ced740b3cf2908b90c34a300e36a2f9f745b26091a914bebaa9590be891306609c7fdf1e"
        "1caa09059e");
    assert_false(is_err(kdf_e(out, 48, EVP_sha256(), bytes_of(z, 48), "IDENTITY", bytes_of(x, 48),
                              bytes_of(y, 48))));
    assert_hex(
        out, 48,
        "feb221fbef44e7a0d2ab209e16a3e72ca972bde58d73babb677d8c9ccf0321b2bca5d182beee4cdfb8631b"
        "501209be40");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(kdf_a_gives_the_known_keys),
        cmocka_unit_test(kdf_e_gives_the_known_seeds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
