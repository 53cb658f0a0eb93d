/*
 * What `blindllama-log serve` answers in a second, against nginx that serves the same bytes from
 * files: HTTP/1.1 over TLS 1.3 with keep-alive, a P-256 key, no tickets; each server one process
 * with one thread on one core, the load (wrk) on another.
 *
 * The load may be slower than a server is. So the servers are compared twice: by answers a second,
 * and by answers a second of the server's own CPU time, which no slow load makes look equal. Before
 * and after, every path is fetched from both, and between the rounds wrk looks at every answer: a
 * wrong byte ends the program.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bench/log_bench.h"
#include "bench/programs.h"
#include "common/file.h"
#include "http/connection.h"
#include "logservice/published.h"
#include "transparency/tlog_proof.h"

enum {
    N_ENTRIES = 65536 + 100,
    N_ENTRIES_TINY = 600,
    N_PATHS_MAX = 128, /* of one kind */
    N_CLIENTS = 16,
    ANSWER_MAX = 1 << 20, /* of bytes */
    HEADERS_MAX = 512,    /* bytes of an answer that are not its body */
};

static const char nginx_path[] = "build/nginx/usr/sbin/nginx"; /* ./dev bench unpacks it there */

enum kind { PROOFS, TILES, BUNDLES, N_KINDS };
static const char *const kind_names[N_KINDS] = {"proofs", "tiles", "entry bundles"};
enum side { OURS, NGINX, N_SIDES };

/* What is asked for of one kind. */
struct paths {
    size_t n;
    char paths[N_PATHS_MAX][64];
    struct buf bodies[N_PATHS_MAX];
    char script[128]; /* of wrk: asks for these paths, one after the other */
    char check[128];  /* the same, and compares the answers */
    struct series rates[N_SIDES], cpu_rates[N_SIDES]; /* answers a second */
};

struct serving {
    const struct log_bench *b;
    struct program servers[N_SIDES];
    struct buf urls[N_SIDES];
    struct paths kinds[N_KINDS];
};

static void write_file(const struct log_bench *b, const char *name, struct bytes data)
{
    BUF_AUTO path = BUF_INIT;
    path_join(&path, b->folder, name);
    for (char *slash = (char *)path.data + strlen(b->folder) + 1;
         (slash = strchr(slash, '/')) != NULL; slash++) {
        *slash = 0;
        mkdir((const char *)path.data, 0700);
        *slash = '/';
    }
    FD_AUTO fd = open(buf_str(&path), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    must(fd >= 0 ? fd_write_all(fd, data) : err_errno("cannot write %s", buf_str(&path)));
}

static struct buf *add_path(struct serving *s, enum kind kind, const char *path)
{
    struct paths *p = &s->kinds[kind];
    snprintf(p->paths[p->n], sizeof p->paths[p->n], "%s", path);
    return &p->bodies[p->n++];
}

static void add_tile(struct serving *s, struct store *log, enum kind kind, uint64_t index)
{
    BUF_AUTO path = BUF_INIT;
    struct tile tile = {kind == TILES ? 0 : TILE_LEVEL_ENTRIES, index, TILE_WIDTH};
    tile_format(&path, &tile);
    must(store_tile(log, &tile, add_path(s, kind, buf_str(&path))));
}

static void add_proof(struct serving *s, struct store *log, uint64_t index)
{
    BUF_AUTO path = BUF_INIT, note = BUF_INIT;
    struct checkpoint head;
    buf_printf(&path, "proof/%llu", (unsigned long long)index);
    must(store_checkpoint(log, &note, &head));
    struct tlog_proof proof = {.index = index, .checkpoint = buf_bytes(&note)};
    must(store_prove_inclusion(log, &proof.proof, index, head.size));
    tlog_proof_format(add_path(s, PROOFS, buf_str(&path)), &proof);
}

/* The log, and all that will be asked for, as the library gives it; as files for nginx, too. */
static void make_log(struct serving *s)
{
    struct store *log = NULL;
    uint64_t n = s->b->o->tiny ? N_ENTRIES_TINY : N_ENTRIES, n_tiles = n / TILE_WIDTH;
    log_bench_make(&log, s->b, "serve.db");
    for (uint64_t i = 0; i < n; i += LOG_BATCH_MAX)
        log_bench_append(log, i, n - i < LOG_BATCH_MAX ? (unsigned)(n - i) : LOG_BATCH_MAX, 1);
    log_bench_check(log, n, "serve.db");
    for (uint64_t i = 0; i < n_tiles && i < N_PATHS_MAX; i++) {
        add_tile(s, log, TILES, i);
        add_tile(s, log, BUNDLES, i);
    }
    for (uint64_t i = 0; i < N_PATHS_MAX; i++)
        add_proof(s, log, i * (n - 1) / (N_PATHS_MAX - 1));
    store_close(log);
    for (struct paths *p = s->kinds; p < s->kinds + N_KINDS; p++)
        for (size_t i = 0; i < p->n; i++) {
            char name[80];
            snprintf(name, sizeof name, "www/%s", p->paths[i]);
            write_file(s->b, name, buf_bytes(&p->bodies[i]));
        }
}

/* wrk's script: the paths in turn; with `check`, each body must be one of the right ones. */
static void write_script(const struct serving *s, const struct paths *p, const char *name,
                         bool check)
{
    BUF_AUTO text = BUF_INIT;
    buf_append_str(&text, "local paths, known, i, wrong = {}, {}, 0, 0\n");
    /* wrk has room for few files beside its connections. */
    buf_append_str(&text, "local function know(path) local f = io.open(path, 'rb')\n"
                          "  known[f:read('*a')] = true f:close() end\n");
    for (size_t k = 0; k < p->n; k++) {
        buf_printf(&text, "paths[%zu] = '/%s'\n", k + 1, p->paths[k]);
        if (check)
            buf_printf(&text, "know('%s/www/%s')\n", s->b->folder, p->paths[k]);
    }
    buf_append_str(&text,
                   "function init() for k, p in ipairs(paths) do paths[k] = wrk.format('GET', p) "
                   "end end\n"
                   "function request() i = i % #paths + 1 return paths[i] end\n");
    if (check)
        buf_append_str(&text, "function response(status, headers, body)\n"
                              "  if status ~= 200 or not known[body] then wrong = wrong + 1\n"
                              "    print('wrong', status, #body) end end\n");
    buf_append_str(&text,
                   "function done(summary, latency, requests)\n"
                   "  local e = summary.errors\n"
                   "  print(string.format('counted %d %d %d %d', summary.requests, summary.bytes,\n"
                   "    summary.duration, e.connect + e.read + e.write + e.status + e.timeout)) "
                   "end\n");
    write_file(s->b, name, buf_bytes(&text));
}

static void write_scripts(struct serving *s)
{
    for (size_t i = 0; i < N_KINDS; i++) {
        struct paths *p = &s->kinds[i];
        char name[32];
        snprintf(name, sizeof name, "ask-%zu.lua", i);
        snprintf(p->script, sizeof p->script, "%.90s/%s", s->b->folder, name);
        write_script(s, p, name, false);
        snprintf(name, sizeof name, "check-%zu.lua", i);
        snprintf(p->check, sizeof p->check, "%.90s/%s", s->b->folder, name);
        write_script(s, p, name, true);
    }
}

static void start_ours(struct serving *s)
{
    BUF_AUTO program = BUF_INIT, db = BUF_INIT, key = BUF_INIT, line = BUF_INIT;
    BUF_AUTO text = BUF_INIT;
    note_skey_format(&text, &s->b->signer);
    buf_append_str(&text, "\n");
    write_file(s->b, "serve.key", buf_bytes(&text));
    const char *argv[] = {program_beside(&program, "blindllama-log"),
                          "serve",
                          "--db",
                          path_join(&db, s->b->folder, "serve.db"),
                          "--key",
                          path_join(&key, s->b->folder, "serve.key"),
                          "--listen",
                          "127.0.0.1:0",
                          NULL};
    program_start(&s->servers[OURS], argv, 0);
    program_line(&s->servers[OURS], &line);
    const char *url = strstr(buf_str(&line), "https://");
    must(url != NULL ? err_ok() : err_set(ERR_IO, "blindllama-log says: %s", buf_str(&line)));
    buf_append_str(&s->urls[OURS], url);
}

static void make_certificate(const struct serving *s)
{
    BUF_AUTO key = BUF_INIT, certificate = BUF_INIT, said = BUF_INIT;
    const char *argv[] = {"openssl",
                          "req",
                          "-x509",
                          "-newkey",
                          "ec",
                          "-pkeyopt",
                          "ec_paramgen_curve:P-256",
                          "-nodes",
                          "-days",
                          "2",
                          "-subj",
                          "/CN=bench",
                          "-keyout",
                          path_join(&key, s->b->folder, "nginx.key"),
                          "-out",
                          path_join(&certificate, s->b->folder, "nginx.crt"),
                          NULL};
    struct program p;
    program_start(&p, argv, 0);
    program_finish(&p, &said);
}

static void start_nginx(struct serving *s)
{
    const char *f = s->b->folder;
    unsigned port = program_free_port();
    BUF_AUTO conf = BUF_INIT, path = BUF_INIT;
    make_certificate(s);
    buf_printf(&conf,
               "daemon off; master_process off; pid %s/nginx.pid; error_log %s/nginx.log crit;\n"
               "events { worker_connections 512; }\n"
               "http { access_log off; sendfile on; tcp_nopush on; open_file_cache max=4096;\n"
               "  keepalive_requests 1000000000; default_type application/octet-stream;\n"
               "  client_body_temp_path %s/t1; proxy_temp_path %s/t2; fastcgi_temp_path %s/t3;\n"
               "  uwsgi_temp_path %s/t4; scgi_temp_path %s/t5;\n"
               "  server { listen 127.0.0.1:%u ssl; root %s/www;\n"
               "    ssl_certificate %s/nginx.crt; ssl_certificate_key %s/nginx.key;\n"
               "    ssl_protocols TLSv1.3; ssl_session_tickets off; ssl_session_cache off; } }\n",
               f, f, f, f, f, f, f, port, f, f, f);
    write_file(s->b, "nginx.conf", buf_bytes(&conf));
    const char *argv[] = {nginx_path, "-p", f, "-c", path_join(&path, f, "nginx.conf"), NULL};
    program_start(&s->servers[NGINX], argv, 0);
    buf_printf(&s->urls[NGINX], "https://127.0.0.1:%u", port);
}

static void fetch_all(struct serving *s, enum side side)
{
    static const struct connection_limits limits = {10, 30, 30};
    struct url url;
    must(url_parse(&url, buf_str(&s->urls[side])));
    CONNECTION_AUTO *c = NULL;
    must(connection_open(&c, &url, &limits));
    for (struct paths *p = s->kinds; p < s->kinds + N_KINDS; p++)
        for (size_t i = 0; i < p->n; i++) {
            ANSWER_AUTO answer = ANSWER_INIT;
            char path[80];
            snprintf(path, sizeof path, "/%s", p->paths[i]);
            must(
                connection_request(c, &answer, &(struct request){.path = path, .max = ANSWER_MAX}));
            if (answer.status != 200 ||
                !bytes_equal(buf_bytes(&answer.body), buf_bytes(&p->bodies[i])))
                must(err_set(ERR_UNTRUE, "%s%s: status %d, or other bytes than the log's",
                             buf_str(&s->urls[side]), path, answer.status));
        }
}

/* What wrk counted. */
struct count {
    double requests, bytes, seconds;
};

static void run_wrk(struct buf *said, struct serving *s, enum side side, const char *script)
{
    char clients[16];
    snprintf(clients, sizeof clients, "%d", N_CLIENTS);
    const char *argv[] = {
        "wrk", "-t", "1", "-c", clients, "-d", "1", "-s", script, buf_str(&s->urls[side]), NULL};
    struct program wrk;
    program_start(&wrk, argv, 1);
    program_finish(&wrk, said);
}

static struct count ask(struct serving *s, enum side side, const char *script)
{
    BUF_AUTO said = BUF_INIT;
    struct count c = {0};
    double us = 0, errors = 1;
    run_wrk(&said, s, side, script);
    const char *at = strstr(buf_str(&said), "counted ");
    if (at == NULL ||
        sscanf(at, "counted %lf %lf %lf %lf", &c.requests, &c.bytes, &us, &errors) != 4 ||
        errors > 0 || c.requests < 1 || strstr(buf_str(&said), "wrong") != NULL)
        must(err_set(ERR_UNTRUE, "%s gave wrong answers, or none: %s", buf_str(&s->urls[side]),
                     buf_str(&said)));
    c.seconds = us * 1e-6;
    return c;
}

static void measure(struct serving *s, enum kind kind, enum side side)
{
    struct paths *p = &s->kinds[kind];
    size_t shortest = SIZE_MAX, longest = 0;
    for (size_t i = 0; i < p->n; i++) {
        shortest = p->bodies[i].len < shortest ? p->bodies[i].len : shortest;
        longest = p->bodies[i].len > longest ? p->bodies[i].len : longest;
    }
    double before = program_cpu(&s->servers[side]);
    struct count c = ask(s, side, p->script);
    double cpu = program_cpu(&s->servers[side]) - before;
    /* Each client may have an answer of which not all has come. */
    double least = c.requests * (double)shortest;
    double most = (c.requests + N_CLIENTS) * (double)(longest + HEADERS_MAX);
    if (c.bytes < least || c.bytes > most)
        must(err_set(ERR_UNTRUE, "%s: %.0f answers of %zu to %zu bytes cannot have %.0f",
                     buf_str(&s->urls[side]), c.requests, shortest, longest, c.bytes));
    series_add(&p->rates[side], c.requests / c.seconds);
    series_add(&p->cpu_rates[side], c.requests / cpu);
}

static void report(struct results *r, const struct serving *s)
{
    char name[64];
    results_group(r, "log, serving %d entries of %d bytes over TLS 1.3, 1 core, %d clients",
                  s->b->o->tiny ? N_ENTRIES_TINY : N_ENTRIES, ENTRY_LEN, N_CLIENTS);
    for (size_t i = 0; i < N_KINDS; i++) {
        const struct paths *p = &s->kinds[i];
        struct sha256_stream *all = sha256_new();
        char hash[17];
        for (size_t k = 0; k < p->n; k++)
            sha256_update(all, buf_bytes(&p->bodies[k]));
        hash_text(hash, all);
        snprintf(name, sizeof name, "%s, nginx", kind_names[i]);
        results_add_series(r, name, &p->rates[NGINX], 1, "1/s", NULL, NULL, NULL);
        results_add_series(r, kind_names[i], &p->rates[OURS], 1, "1/s", "nginx, the same bytes",
                           &p->rates[NGINX], hash);
        snprintf(name, sizeof name, "%s, of CPU time", kind_names[i]);
        results_add_series(r, name, &p->cpu_rates[OURS], 1, "1/s", "nginx, of its CPU time",
                           &p->cpu_rates[NGINX], hash);
    }
}

static void free_all(struct serving *s)
{
    for (size_t i = 0; i < N_SIDES; i++) {
        program_stop(&s->servers[i]);
        buf_cleanup(&s->urls[i]);
    }
    for (struct paths *p = s->kinds; p < s->kinds + N_KINDS; p++)
        for (size_t i = 0; i < p->n; i++)
            buf_cleanup(&p->bodies[i]);
    log_bench_remove(s->b, "serve.db");
    free(s);
}

static const char *missing_program(void)
{
    const char *const needed[] = {"wrk", "openssl", nginx_path};
    for (size_t i = 0; i < sizeof needed / sizeof needed[0]; i++)
        if (!program_exists(needed[i]))
            return needed[i];
    return NULL;
}

void log_bench_serve(struct results *r, const struct log_bench *b)
{
    const char *missing = missing_program();
    if (missing != NULL) {
        printf("\nlog, serving: not measured: there is no %s (./dev bench brings it)\n", missing);
        return;
    }
    struct serving *s = calloc(1, sizeof *s);
    if (s == NULL)
        must(err_set(ERR_MEMORY, "no memory for what is served"));
    s->b = b;
    make_log(s);
    write_scripts(s);
    start_nginx(s); /* its port is open before ours is listened on */
    start_ours(s);
    for (unsigned i = 0; i < N_SIDES; i++)
        fetch_all(s, (enum side)i);
    for (unsigned round = 0; round < b->o->n_rounds; round++)
        for (unsigned kind = 0; kind < N_KINDS; kind++)
            for (unsigned i = 0; i < N_SIDES; i++)
                measure(s, (enum kind)kind, (enum side)((round + i) % N_SIDES));
    for (unsigned i = 0; i < N_SIDES; i++) {
        for (unsigned kind = 0; kind < N_KINDS; kind++)
            (void)ask(s, (enum side)i, s->kinds[kind].check);
        fetch_all(s, (enum side)i);
    }
    report(r, s);
    free_all(s);
}
