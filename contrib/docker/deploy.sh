#!/bin/sh
# Replaces the web servers and the worker one after the other, each when the one before is healthy, so that no submission is refused.
# Run it for an upgrade or a roll-back, in a checkout of the version that shall run.
#
#   sh contrib/docker/deploy.sh                 builds the image of this version first
#   sh contrib/docker/deploy.sh --no-build      uses the image of an earlier deploy
set -eu
case ${1-} in
    "") docker compose build web ;;
    --no-build) ;;
    *) echo "Usage: sh $0 [--no-build]" >&2; exit 2 ;;
esac
for service in web web2 worker; do
    if ! docker compose up -d --no-build --no-deps --wait "$service"; then
        echo "$service is not healthy. The services after it still run as before; docker compose logs $service shows why." >&2
        exit 1
    fi
done
