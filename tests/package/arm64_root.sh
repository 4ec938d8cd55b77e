#!/bin/sh
# Runs a program in the root file system of an arm64 image: arm64_root.sh ROOT PROGRAM [ARGUMENT …]
# It is run in namespaces of its own (user, mounts, processes), so the interpreter that it registers exists there only.
set -eu
root=$1; shift
mount -t binfmt_misc none /proc/sys/fs/binfmt_misc
head='\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00'
mask='\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff'
# F: the interpreter is opened now, since the root has none.
printf '%s' ":edgehone-arm64:M::$head:$mask:$(command -v qemu-aarch64-static):F" > /proc/sys/fs/binfmt_misc/register
mkdir -p "$root/proc" "$root/sys" "$root/tmp" "$root/dev"
mount -t proc proc "$root/proc"
mount -t tmpfs tmpfs "$root/tmp"
mount -t tmpfs tmpfs "$root/sys"
for name in null urandom; do
  touch "$root/dev/$name"
  mount --bind "/dev/$name" "$root/dev/$name"
done
# What an arm64 kernel says of one Cortex-A76; that of this machine is another processor.
cpu="$root/sys/devices/system/cpu"
mkdir -p "$cpu/cpu0/topology" "$cpu/cpu0/regs/identification"
for name in present possible online; do echo 0 > "$cpu/$name"; done
for name in core_id physical_package_id; do echo 0 > "$cpu/cpu0/topology/$name"; done
echo 0x00000000414fd0b1 > "$cpu/cpu0/regs/identification/midr_el1"
printf 'processor\t: 0\nBogoMIPS\t: 48.00\nFeatures\t: fp asimd aes sha1 sha2 crc32 atomics fphp asimdhp asimdrdm asimddp\n' > "$root/tmp/cpuinfo"
mount --bind "$root/tmp/cpuinfo" "$root/proc/cpuinfo"
QEMU_CPU=cortex-a76 exec chroot "$root" "$@"
