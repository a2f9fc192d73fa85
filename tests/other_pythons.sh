#!/bin/sh
# `make test` under another Python, as root: `tests/other_pythons.sh jammy /tmp/jammy` is Ubuntu 22.04 with 3.10, the
# oldest we support; `... sid /tmp/sid` is Debian's newest. Further arguments are pytest's. It needs debootstrap, 10 GB in
# the folder, which is kept (PyPI's torch brings CUDA's libraries along), and the registries of PyPI, Ubuntu and Debian.
set -eu
suite=$1 root=$2
shift 2
repository=$(cd "$(dirname "$0")/.." && pwd)
case $suite in
    jammy) mirror=http://archive.ubuntu.com/ubuntu components=main,universe ;;
    *) mirror=http://deb.debian.org/debian components=main ;;
esac
if [ ! -e "$root/project" ]; then
    debootstrap --no-check-gpg --variant=minbase --components=$components \
        --include=python3,python3-venv,python3-dev,gcc,git,make,ca-certificates "$suite" "$root" $mirror
    cp /etc/resolv.conf /etc/hosts "$root/etc/"
    cp /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/"
    git clone -q "$repository" "$root/project"
fi
for folder in proc dev dev/shm dev/pts; do
    mountpoint -q "$root/$folder" || mount --bind "/$folder" "$root/$folder"
done
git -C "$root/project" fetch -q "$repository" HEAD
git -C "$root/project" reset -q --hard FETCH_HEAD
chroot "$root" env -u PIP_FIND_LINKS CI=true HOME=/root LANG=C.UTF-8 make -C /project test PYTEST_ARGS="$*"
