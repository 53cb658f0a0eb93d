#!/bin/bash
# A software TPM 2.0 (swtpm) with an EK certificate, for tests and for the demo. All that it makes
# lies in one folder; nothing else is touched, no root and no /dev/tpm is needed.
#
#   software_tpm.sh start DIR    makes the TPM on first use, starts it, prints its TCTI string
#   software_tpm.sh reboot DIR   an orderly power cycle: PCRs back to zero, reset count plus 1
#   software_tpm.sh stop DIR     orderly shutdown
#
# In DIR afterwards: swtpm.sock, swtpm.pid, ek-chain-0.pem (the EK certificate's issuer) and
# ek-chain-1.pem (the root). Debian packages: swtpm swtpm-tools tpm2-tools libtss2-tcti-swtpm0.
set -eu

die() {
    echo "software_tpm.sh: $*" >&2
    exit 2
}

usage() {
    die "usage: software_tpm.sh start|stop|reboot DIR"
}

need_programs() {
    local program
    for program in swtpm swtpm_setup swtpm_localca tpm2_shutdown; do
        command -v "$program" >/dev/null ||
            die "$program is missing: apt-get install swtpm swtpm-tools tpm2-tools libtss2-tcti-swtpm0"
    done
}

# A certificate authority of its own for each DIR, so that tests never share a root.
write_configuration() {
    cat >"$dir/localca.conf" <<EOF
statedir = $dir/ca
signingkey = $dir/ca/signkey.pem
issuercert = $dir/ca/issuercert.pem
certserial = $dir/ca/certserial
EOF
    cat >"$dir/localca.options" <<EOF
--platform-manufacturer BlindLlama
--platform-version 1.0
--platform-model Test
EOF
    cat >"$dir/setup.conf" <<EOF
create_certs_tool = $(command -v swtpm_localca)
create_certs_tool_config = $dir/localca.conf
create_certs_tool_options = $dir/localca.options
active_pcr_banks = sha256
EOF
}

# Made aside and renamed, so that a TPM that was made halfway is never used.
make_tpm() {
    rm -rf "$dir/state" "$dir/state.new" "$dir/ca"
    mkdir -p "$dir/ca" "$dir/state.new" "$dir/tmp"
    write_configuration
    TMPDIR="$dir/tmp" swtpm_setup --tpm2 --tpm-state "$dir/state.new" --create-ek-cert \
        --pcr-banks sha256 --lock-nvram --config "$dir/setup.conf" --logfile "$dir/setup.log" \
        >/dev/null || die "swtpm_setup failed: $(tail -n 3 "$dir/setup.log")"
    rm -rf "$dir/tmp"
    cp "$dir/ca/issuercert.pem" "$dir/ek-chain-0.pem"
    cp "$dir/ca/swtpm-localca-rootca-cert.pem" "$dir/ek-chain-1.pem"
    mv "$dir/state.new" "$dir/state"
}

running() {
    [ -s "$dir/swtpm.pid" ] && kill -0 "$(cat "$dir/swtpm.pid")" 2>/dev/null
}

power_on() {
    rm -f "$socket" "$socket.ctrl"
    # The control socket must bear this name: tpm2-tss looks for it there.
    swtpm socket --tpm2 --daemon --tpmstate "dir=$dir/state" --pid "file=$dir/swtpm.pid" \
        --server "type=unixio,path=$socket,mode=0600" \
        --ctrl "type=unixio,path=$socket.ctrl,mode=0600" \
        --flags not-need-init,startup-clear --log "file=$dir/swtpm.log" >/dev/null ||
        die "swtpm does not start: $(tail -n 3 "$dir/swtpm.log")"
}

# Without TPM2_Shutdown the TPM would call its clock unsafe after the next start.
power_off() {
    local pid
    running || return 0
    pid=$(cat "$dir/swtpm.pid")
    TSS2_LOG=all+none tpm2_shutdown --tcti "swtpm:path=$socket" --clear ||
        echo "software_tpm.sh: no orderly shutdown: the clock will be reported as unsafe" >&2
    kill "$pid"
    while kill -0 "$pid" 2>/dev/null; do
        sleep 0.02
    done
    rm -f "$dir/swtpm.pid" "$socket" "$socket.ctrl"
}

if [ $# -ne 2 ] || [ -z "$2" ]; then
    usage
fi
command=$1
[ "$command" != start ] || (umask 077 && mkdir -p "$2")
dir=$(cd "$2" 2>/dev/null && pwd) || die "no such folder: $2"
socket=$dir/swtpm.sock
# sun_path holds 108 bytes with its NUL, and the control socket's name is the longest.
[ "$(printf %s "$socket.ctrl" | wc -c)" -le 107 ] ||
    die "the folder's path is too long for a UNIX socket (at most 91 bytes): $dir"
need_programs

case $command in
start)
    [ -d "$dir/state" ] || make_tpm
    running || power_on
    echo "swtpm:path=$socket"
    ;;
reboot)
    [ -d "$dir/state" ] || die "no TPM in $dir: run 'software_tpm.sh start $dir' first"
    power_off
    power_on
    ;;
stop)
    power_off
    ;;
*)
    usage
    ;;
esac
