#!/bin/sh
# Runs the command. Where a setup job makes EspoCRM's key and writes it into a file, it waits for that file first:
# at the first start EspoCRM takes some minutes to install itself.
set -eu

if [ "${CRM_PROVIDER:-}" = espocrm ] && [ -z "${ESPOCRM_API_KEY:-}" ] && [ -n "${ESPOCRM_API_KEY_FILE:-}" ]; then
    announced=
    until [ -s "$ESPOCRM_API_KEY_FILE" ]; do
        [ -n "$announced" ] || echo "Waiting for EspoCRM's key in $ESPOCRM_API_KEY_FILE (the job espocrm-setup writes it)." >&2
        announced=yes
        sleep 1
    done
fi

exec "$@"
