# The machine of one program: what a distribution's init would have mounted, then the program, then its end.
image=$1
program=$2
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8

mount -t tmpfs tmpfs /run
mkdir -p /run/netns /dev/shm /dev/pts
mount -t tmpfs tmpfs /dev/shm
mount -t devpts devpts /dev/pts
mount -t bpf bpf /sys/fs/bpf
mount -t cgroup2 -o nsdelegate cgroup2 /sys/fs/cgroup
# The kernel asks for veth, cls_bpf and the like by itself; its modules are not where a distribution has them.
printf '#!/bin/sh\nexec modprobe -d %s "$@"\n' "$image" >/run/modprobe
chmod +x /run/modprobe
echo /run/modprobe >/proc/sys/kernel/modprobe
ip link set lo up
/bin/sh -c "$(printf %s "$program" | base64 -d)" >/dev/console 2>&1
busybox poweroff -f
