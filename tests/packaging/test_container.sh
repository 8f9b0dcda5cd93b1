#!/usr/bin/env bash
# Builds docker/Dockerfile on a base made by debootstrap, runs the image under runc as an orchestrator would (no root,
# read-only root, no capability, own network), and checks that the daemon answers and drains. Needs root.
# The base and the image layers are kept in ~/.cache/bellhop/container, so that a second run is quick.
set -euo pipefail
cd "$(dirname "$0")/../.."
cache=${XDG_CACHE_HOME:-$HOME/.cache}/bellhop/container
name=bellhop-test-$$
base=docker.io/library/debian:bookworm-slim
uid=10001

skip() {
    echo "container: SKIPPED, $1"
    [[ ${CI:-} == true ]] && exit 1
    exit 0
}
((EUID == 0)) || skip "root is needed"
for tool in buildah runc debootstrap python3; do
    command -v "$tool" >/dev/null || skip "$tool is not installed (scripts/deps long)"
done

mkdir -p "$cache"
work=$(mktemp -d)
container=
said() { echo "container: $*"; }
fail() {
    said "FAILED, $*"
    [[ -s $work/log ]] && tail -n 30 "$work/log"
    exit 1
}
image() { buildah --root "$cache/storage" --runroot "$work/runroot" "$@"; }
clean() {
    runc --root "$work/runc" delete --force "$name" >/dev/null 2>&1 || true
    [[ -z $container ]] || image rm "$container" >/dev/null 2>&1 || true
    rm -rf "$work"
}
trap clean EXIT

# The base, with this machine's own Debian mirror and sources.
if ! image inspect --type image "$base" >/dev/null 2>&1; then
    suite_mirror=$(apt-get indextargets --format '$(CODENAME) $(REPO_URI)' 'Created-By: Packages' |
                   awk '$1 == "bookworm" { print $2; exit }')
    [[ -n $suite_mirror ]] || suite_mirror=http://deb.debian.org/debian
    rm -rf "$cache/base"
    debootstrap --variant=minbase bookworm "$cache/base" "$suite_mirror" >"$work/log" 2>&1 || fail "debootstrap"
    apt-get indextargets --format '$(CODENAME) $(REPO_URI)' 'Created-By: Packages' | sort -u |
        awk '$1 ~ /^bookworm/ { print "deb " $2 " " $1 " main" }' >"$cache/base/etc/apt/sources.list"
    rm -rf "$cache/base/var/cache/apt/archives/"*.deb "$cache/base/var/lib/apt/lists/"*
    scratch=$(image from scratch)
    image add -q "$scratch" "$cache/base" / >"$work/log" 2>&1 || fail "import of the base"
    image commit -q "$scratch" "$base" >/dev/null
    image rm "$scratch" >/dev/null
    rm -rf "$cache/base"
fi

image bud -q --isolation chroot --network host --pull-never --layers --format docker -t bellhop \
    -f docker/Dockerfile . >"$work/log" 2>&1 || fail "build of docker/Dockerfile"
container=$(image from --pull-never bellhop)
root=$(image mount "$container")

mkdir -p "$work/bundle" "$work/run" "$work/state"
chown $uid:$uid "$work/run" "$work/state"
chmod 755 "$work"
chmod 750 "$work/run" "$work/state"
(cd "$work/bundle" && runc spec)
image inspect --type image bellhop >"$work/image.json"
python3 - "$work" "$root" <<'PYTHON' || fail "the image's own settings"
import json, sys
work, root = sys.argv[1:]
image = json.load(open(f"{work}/image.json"))["Docker"]["config"]
spec = json.load(open(f"{work}/bundle/config.json"))
uid, gid = map(int, image["User"].split(":"))
assert uid != 0 and image["Healthcheck"]["Test"], image
process = spec["process"]
process.update(terminal=False, args=image["Entrypoint"] + image["Cmd"], user={"uid": uid, "gid": gid},
               noNewPrivileges=True, capabilities={}, env=image["Env"])
spec["root"] = {"path": root, "readonly": True}
spec["hostname"] = "porter"
for source, target in (("run", "/run/bellhop"), ("state", "/var/lib/bellhop")):
    spec["mounts"].append({"destination": target, "type": "bind", "source": f"{work}/{source}",
                           "options": ["bind", "rw", "nosuid", "nodev", "noexec"]})
json.dump(spec, open(f"{work}/bundle/config.json", "w"))
json.dump(image["Healthcheck"]["Test"][1:], open(f"{work}/health.json", "w"))
PYTHON

runc --root "$work/runc" run --bundle "$work/bundle" "$name" >"$work/log" 2>&1 </dev/null &
porter=$!
for ((i = 0; i < 100; i++)); do
    [[ -S $work/run/bellhop.sock ]] && grep -q ready "$work/log" && break
    kill -0 $porter 2>/dev/null || fail "the daemon did not start"
    sleep 0.1
done
[[ -S $work/run/bellhop.sock ]] || fail "no socket after 10 s"

inside() { runc --root "$work/runc" exec "$name" "$@"; }
[[ $(inside id -u) == "$uid" ]] || fail "it does not run as $uid"
! inside touch /canary 2>/dev/null || fail "the root is writable"
[[ $(inside sh -c 'grep CapEff /proc/1/status') == *0000000000000000 ]] || fail "it has capabilities"
mapfile -t health < <(python3 -c 'import json, sys; print(*json.load(open(sys.argv[1])), sep="\n")' "$work/health.json")
inside "${health[@]}" >/dev/null || fail "the health check says no"

# A service on the host's side of the shared socket folder, and a request over TCP inside: NestJS frames both ways.
cat >"$work/math.py" <<PYTHON
import sys
sys.path.insert(0, "$PWD/clients/python")
import bellhop
service = bellhop.Service("math", socket="$work/run/bellhop.sock")
@service.on({"cmd": "sum"})
def sum_(numbers, delivery):
    return sum(numbers)
service.run()
PYTHON
python3 "$work/math.py" >"$work/math.log" 2>&1 &
math=$!
body='{"pattern":{"cmd":"sum"},"data":[2,3],"id":"1"}'
answer=
for ((i = 0; i < 50; i++)); do
    answer=$(inside bash -c "exec 3<>/dev/tcp/127.0.0.1/4000; printf '%s' '${#body}#$body' >&3; timeout 2 head -c 20 <&3" || true)
    [[ $answer == *'"response":5'* ]] && break
    sleep 0.1
done
kill $math 2>/dev/null || true
wait $math 2>/dev/null || true
[[ $answer == *'"response'* ]] || { cat "$work/math.log"; fail "no answer over TCP: $answer"; }

runc --root "$work/runc" kill "$name" TERM
status=0
wait $porter || status=$?
((status == 0)) || fail "exit $status after SIGTERM"
said "built, answers as uid $uid with a read-only root and no capability, drains"
