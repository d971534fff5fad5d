# shellcheck shell=bash disable=SC2034
# What the scripts for other systems share; they source it. Needs Debian, apt and the crates
# registry.
set -euo pipefail

work=${CI_TARGETS_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/async-messenger-targets}
mkdir -p "$work"
log=$work/${0##*/}.log

need() { # PACKAGE...: installs those that are missing
    local package state missing=()
    for package; do
        state=$(dpkg-query -W -f='${db:Status-Abbrev}' "$package" 2>/dev/null || true)
        [ "$state" = 'ii ' ] || missing+=("$package")
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    echo "installing ${missing[*]}" >&2
    local sudo='' apt=(env DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=300)
    [ "$(id -u)" = 0 ] || sudo=sudo
    { $sudo "${apt[@]}" update &&
        $sudo "${apt[@]}" install -y --no-install-recommends "${missing[@]}"; } >"$log" 2>&1 ||
        { tail -15 "$log" >&2; exit 1; }
}

# The targets' standard libraries are compiled from Debian's rust-web-src, and Debian's compiler
# fits that source. It is named by path, as another cargo may come earlier in PATH.
debian_rust() { # FOLDER: builds go into this part of the cache
    need rustc-web cargo-web rust-web-src ca-certificates gcc libc6-dev
    unset RUSTUP_TOOLCHAIN RUSTFLAGS
    export PATH=/usr/bin:$PATH RUSTC=/usr/bin/rustc RUSTDOC=/usr/bin/rustdoc RUSTC_BOOTSTRAP=1
    export CARGO_TARGET_DIR=$work/$1 CARGO_PROFILE_DEV_DEBUG=0 CARGO_INCREMENTAL=0
}
readonly STD=-Zbuild-std=std,panic_abort,test
readonly CARGO=/usr/bin/cargo

setting() { # TARGET NAME VALUE: cargo's setting for a target
    local name=${1^^}
    export "CARGO_TARGET_${name//-/_}_$2=$3"
}
