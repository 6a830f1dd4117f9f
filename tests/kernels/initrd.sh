#!/bin/busybox sh
# First process: makes the host's tree, read-only below an overlay in memory, the root, and goes on there.
# The kernel's command line names what is run as `guest`, with `image` and `program` as its arguments.
busybox=/bin/busybox

fail() {
	echo "cannot start: $*"
	$busybox poweroff -f
}

argument() {
	$busybox tr ' ' '\n' </proc/cmdline | $busybox sed -n "s/^$1=//p"
}

$busybox mount -t proc proc /proc
$busybox mount -t sysfs sysfs /sys
$busybox mount -t devtmpfs dev /dev
guest=$(argument guest)
image=$(argument image)
program=$(argument program)
for module in /modules/*; do
	$busybox insmod "$module" || fail "$module"
done
$busybox mount -t virtiofs -o ro host /lower || fail "no virtiofs"
$busybox mount -t tmpfs tmpfs /rw
$busybox mkdir /rw/upper /rw/work
$busybox mount -t overlay -o lowerdir=/lower,upperdir=/rw/upper,workdir=/rw/work overlay /root || fail "no overlay"
for place in proc sys dev; do
	$busybox mount --move /$place /root/$place
done
exec $busybox switch_root /root /bin/sh "$guest" "$image" "$program"
