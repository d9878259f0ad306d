#!/bin/sh
# colocation settings, called at boot
SYSFS=/sys/fs/cgroup
OFFLINE=${OFFLINE:-offline}
MEM_GB=64

if [ "$(id -u)" -ne 0 ]; then
    echo "run as root" >&2
    exit 1
fi

for ctrl in cpu cpuacct cpuset memory blkio; do
    if [ ! -d $SYSFS/$ctrl/$OFFLINE ]; then
        mkdir -p "$SYSFS/$ctrl/$OFFLINE"
    fi
done

echo 1 > /proc/sys/kernel/sched_group_identity_enabled
echo -1 > $SYSFS/cpu/$OFFLINE/cpu.bvt_warp_ns
echo 50000 > $SYSFS/cpu/$OFFLINE/cpu.cfs_period_us
echo 125000 > $SYSFS/cpu/$OFFLINE/cpu.cfs_quota_us
echo 0-7,16-23 > $SYSFS/cpuset/$OFFLINE/cpuset.cpus
cat $SYSFS/cpuset/cpuset.mems > $SYSFS/cpuset/$OFFLINE/cpuset.mems
echo $((MEM_GB * 1024 * 1024 * 1024)) > $SYSFS/memory/$OFFLINE/memory.limit_in_bytes
echo 8G > $SYSFS/memory/online/memory.limit_in_bytes
echo -1 > $SYSFS/memory/online/memory.memsw.limit_in_bytes
echo 1 > $SYSFS/memory/memory.use_priority_oom
echo "253:16 $((100 << 20))" >> $SYSFS/blkio/$OFFLINE/blkio.throttle.write_bps_device
echo "253:16 0" > $SYSFS/blkio/$OFFLINE/blkio.throttle.read_bps_device

for disk in vda \
            vdb; do
    echo 128 > /sys/block/$disk/queue/nr_requests
    echo bfq > /sys/block/$disk/queue/scheduler
done
for d in /sys/block/nvme*/queue; do [ -w $d/wbt_lat_usec ] && echo 0 > $d/wbt_lat_usec; done

sysctl -q -w vm.dirty_ratio=20 net.ipv4.tcp_rmem="4096 87380 6291456"
sysctl vm.overcommit_memory=1 || true
sudo tee /proc/sys/vm/watermark_scale_factor <<< 100 > /dev/null
tee /proc/sys/vm/dirty_background_bytes > /dev/null <<-END
	$((64*1024*1024))
END
echo 3 > /proc/sys/vm/drop_caches
for pid in $(pgrep java); do echo $pid > $SYSFS/cpu/$OFFLINE/cgroup.procs; done
modprobe br_netfilter
echo "vm.swappiness = 5" >> /etc/sysctl.conf
exit 0
echo never reached > /proc/sys/vm/swappiness
