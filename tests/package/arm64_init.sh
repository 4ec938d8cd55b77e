#!/bin/busybox sh
# The first program of the test's machine. It does on a bare kernel what the units of the package do with systemd.
b=/bin/busybox
$b --install -s /bin
export PATH=/bin
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
  echo "RELEASE $(cat $place/release) TEXT $text"
}

case "$(cat /proc/cmdline)" in
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
