#!/bin/busybox sh
# The first program of the test's machine. It does on a bare kernel what the units of the package do with systemd.
b=/bin/busybox
$b --install -s /bin
export PATH=/bin:/usr/bin:/usr/sbin:/sbin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
while read -r module; do insmod "/modules/$module.ko"; done </modules/order
data=/var/lib/edgehone/demo
place=/opt/edgehone/demo
mkdir -p $data $place
mount -t ext4 /dev/vda $data || echo "NO DATA"
mount -t ext4 -o ro /dev/vdb /updates || echo "NO UPDATES"

start() {
  mount -t ext4 -o loop,ro "$data/current" $place || return 1
  text=$($place/edgehone-runner $place/model.gguf --prompt 'The town of' --tokens 8 --threads 1) || return 1
  echo "RELEASE $(cat $place/release 2>/dev/null || echo none) TEXT $text"
}

date -s "@$(sed 's/.*now=\([0-9]*\).*/\1/' /proc/cmdline)" >/dev/null

# What a device does whose root file system has RAUC: it is the root of the disk /dev/vdc.
by_rauc() {
  root=/tools
  mount -t ext4 /dev/vdc $root
  for one in proc sys dev updates; do mount -o bind /$one $root/$one; done
  mount -t tmpfs run $root/run
  mount -t tmpfs tmp $root/tmp
  mkdir -p $root/run/dbus $root/$data
  truncate -s 4096 $data/slot  # as README.md of the package says
  mount -o bind $data $root/$data
  export DBUS_SYSTEM_BUS_ADDRESS=unix:path=/run/dbus/system_bus_socket
  chroot $root /usr/bin/dbus-daemon --config-file=/etc/dbus-1/plain.conf --fork
  chroot $root /usr/bin/rauc service >/dev/console 2>&1 &
  service=$!
  asked="--system --print-reply --dest=org.freedesktop.DBus / org.freedesktop.DBus.GetNameOwner"
  until chroot $root /usr/bin/dbus-send $asked string:de.pengutronix.rauc >/dev/null 2>&1; do sleep 0.2; done
  chroot $root /usr/bin/rauc install "/updates/$1.raucb"
  code=$?
  chroot $root /usr/bin/rauc status >/dev/console 2>&1
  kill $service
  umount $root/$data
  return $code
}

case "$(cat /proc/cmdline)" in
*" rauc="*)
  name=$(sed 's/.* rauc=\([a-z0-9]*\).*/\1/' /proc/cmdline)
  if by_rauc "$name"; then echo "INSTALLED $name"; else echo "REFUSED $name"; fi
  ;;
*install=*)
  name=$(sed 's/.*install=\([a-z0-9]*\).*/\1/' /proc/cmdline)
  RAUC_IMAGE_NAME=/updates/$name.img /system/hook.sh slot-install && echo "INSTALLED $name"
  ;;
esac
if start; then
  /system/confirm.sh
else
  umount $place
  if /system/fallback.sh && start; then /system/confirm.sh; else echo "NO MODEL"; fi
fi
umount $place
umount $data
poweroff -f
