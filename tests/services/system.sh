#!/usr/bin/env bash
# Installs from Debian what the tests use beside Python: headless Chromium (report page), GDAL's own tools (gdalinfo).
# Does nothing where they are there already; where they cannot be installed, says which tests will be skipped.
set -euo pipefail

packages=()
command -v chromium > /dev/null || packages+=(chromium)
command -v chromedriver > /dev/null || packages+=(chromium-driver)
command -v gdalinfo > /dev/null || packages+=(gdal-bin)
[ ${#packages[@]} -eq 0 ] && exit 0

if [ "$(id -u)" -ne 0 ] || ! command -v apt-get > /dev/null; then
    echo "not installed: ${packages[*]}; tests that need them are skipped (as root on Debian this script installs them)"
    exit 0
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -y -qq --no-install-recommends "${packages[@]}" > /dev/null
