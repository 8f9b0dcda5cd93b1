#!/usr/bin/env bash
# The shipped units parse, and the service's exposure stays at 1.4 or below. Needs systemd-analyze, no running systemd.
set -euo pipefail
cd "$(dirname "$0")/../.."
exposure_max=14 # tenths

if ! command -v systemd-analyze >/dev/null; then
    echo "systemd: SKIPPED, systemd-analyze is not installed"
    [[ ${CI:-} != true ]]
    exit
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# verify wants the program to exist: a stand-in, in a copy of the unit.
install -m 755 /bin/true "$work/bellhopd"
for unit in systemd/bellhopd.service systemd/bellhopd.socket; do
    sed "s|/usr/local/sbin/bellhopd|$work/bellhopd|" "$unit" >"$work/${unit##*/}"
done
if ! said=$(systemd-analyze verify --man=no "$work/bellhopd.service" "$work/bellhopd.socket" 2>&1) || [[ -n $said ]]; then
    printf '%s\n' "$said" "systemd: FAILED, the units do not verify"
    exit 1
fi

if ! said=$(systemd-analyze security --offline=true --no-pager --threshold=$exposure_max "$work/bellhopd.service" 2>&1); then
    printf '%s\n' "$said" "systemd: FAILED, exposure above $exposure_max tenths"
    exit 1
fi
exposure=$(sed -n 's/.*Overall exposure level for bellhopd.service: \([0-9.]*\).*/\1/p' <<<"$said")

# A loosened unit must fail, or the gate is open.
sed -i '/^ProtectSystem=\|^NoNewPrivileges=\|^SystemCallFilter=/d' "$work/bellhopd.service"
if systemd-analyze security --offline=true --no-pager --threshold=$exposure_max "$work/bellhopd.service" >/dev/null 2>&1; then
    echo "systemd: FAILED, a unit without its hardening passes the threshold"
    exit 1
fi
echo "systemd: 2 units verify, exposure $exposure"
