#!/bin/busybox sh
# The guest's process 1. The host's file system is /, read-only below a tmpfs; the folder "share" of the host is
# /run/share, writable; cgroup v2 is as systemd leaves it. Runs /run/share/command and powers off.
/bin/busybox mkdir -p /proc /sys /dev /host /compiled /layer /root.new
/bin/busybox --install -s /bin
export PATH=/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin HOME=/root

mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
while read -r module; do
    insmod "/modules/$module" || echo "init: $module was not loaded"
done </modules/order

for tag in host compiled; do
    mount -t 9p -o trans=virtio,version=9p2000.L,ro,msize=512000,cache=loose "$tag" "/$tag"
done
mount -t tmpfs tmpfs /layer
mkdir -p /layer/upper /layer/work /layer/share
mount -t 9p -o trans=virtio,version=9p2000.L,rw,msize=512000,cache=none share /layer/share
mount -t overlay -o lowerdir=/compiled:/host,upperdir=/layer/upper,workdir=/layer/work root /root.new
for point in proc sys dev; do
    mount --move "/$point" "/root.new/$point"
done
cd /root.new || exit
mkdir -p dev/shm dev/pts
mount -t devpts devpts dev/pts
mount -t tmpfs tmpfs dev/shm
mount -t tmpfs tmpfs run
mkdir run/share
mount --move /layer/share run/share
ip link set lo up

mount -t cgroup2 -o nsdelegate,memory_recursiveprot none sys/fs/cgroup
mkdir sys/fs/cgroup/init.scope
echo 1 >sys/fs/cgroup/init.scope/cgroup.procs
echo "+cpuset +cpu +io +memory +pids" >sys/fs/cgroup/cgroup.subtree_control

echo "init: ready after $(cut -d ' ' -f 1 /root.new/proc/uptime) s"
chroot . /bin/sh /run/share/command
echo "init: the command ended with exit $? after $(cut -d ' ' -f 1 /root.new/proc/uptime) s"
sync
echo o >/root.new/proc/sysrq-trigger
while true; do sleep 60; done
