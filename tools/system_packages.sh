#!/bin/sh
# Programs that tests talk to and pip does not bring: a browser for report.html, an SSH server for devices over SSH,
# openssl for certificates, for the registry an OCI registry, skopeo, and PostgreSQL, what builds and starts images, and
# programs that check packages for phones: those of the Android SDK, plistutil. For packages of embedded devices a
# compiler for arm64, emulators of its programs and of a whole machine, and RAUC. For rules and alerts Prometheus and
# Alertmanager. For GitLab's pipelines rsync, which gitlab-ci-local needs. For Jenkins' files Groovy in the version that
# Jenkins has. For rollouts HAProxy. For samples in C# Mono.
# Debian as root: what is missing is installed. Elsewhere it is named, and the tests that need it are skipped, which they
# are never where CI is set.
set -eu
missing=""
command -v chromium >/dev/null 2>&1 || missing="$missing chromium"
[ -x /usr/sbin/sshd ] || missing="$missing openssh-server"
command -v ssh >/dev/null 2>&1 || missing="$missing openssh-client"
command -v node >/dev/null 2>&1 || missing="$missing nodejs"
command -v npm >/dev/null 2>&1 || missing="$missing npm"
command -v openssl >/dev/null 2>&1 || missing="$missing openssl"
command -v docker-registry >/dev/null 2>&1 || missing="$missing docker-registry"
command -v qemu-aarch64-static >/dev/null 2>&1 || missing="$missing qemu-user-static"
command -v qemu-system-aarch64 >/dev/null 2>&1 || missing="$missing qemu-system-arm"
command -v aarch64-linux-gnu-gcc >/dev/null 2>&1 || missing="$missing gcc-aarch64-linux-gnu"
command -v aarch64-linux-gnu-g++ >/dev/null 2>&1 || missing="$missing g++-aarch64-linux-gnu"
command -v rauc >/dev/null 2>&1 || missing="$missing rauc"
command -v mksquashfs >/dev/null 2>&1 || missing="$missing squashfs-tools"
command -v skopeo >/dev/null 2>&1 || missing="$missing skopeo"
command -v buildah >/dev/null 2>&1 || missing="$missing buildah"
command -v mmdebstrap >/dev/null 2>&1 || missing="$missing mmdebstrap"
command -v podman >/dev/null 2>&1 || missing="$missing podman"
command -v runc >/dev/null 2>&1 || missing="$missing runc"
ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || command -v initdb >/dev/null 2>&1 || missing="$missing postgresql"
for program in apksigner aapt zipalign; do
  command -v "$program" >/dev/null 2>&1 || missing="$missing $program"
done
command -v promtool >/dev/null 2>&1 || missing="$missing prometheus"
command -v amtool >/dev/null 2>&1 || missing="$missing prometheus-alertmanager"
command -v rsync >/dev/null 2>&1 || missing="$missing rsync"
command -v haproxy >/dev/null 2>&1 || missing="$missing haproxy"
command -v groovy >/dev/null 2>&1 || missing="$missing groovy"
# Debian's groovy looks for Java there, where other packages of a Java runtime put no link.
command -v apt-get >/dev/null 2>&1 && [ ! -e /usr/lib/jvm/default-java ] && missing="$missing default-jre-headless"
command -v mcs >/dev/null 2>&1 || missing="$missing mono-mcs libmono-system-runtime-serialization4.0-cil"
command -v mono >/dev/null 2>&1 || missing="$missing mono-runtime"
command -v plistutil >/dev/null 2>&1 || missing="$missing libplist-utils"
[ -n "$missing" ] || exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing
else
  echo "not installed:$missing; the tests that need them are skipped (Debian: apt-get install$missing)" >&2
fi
