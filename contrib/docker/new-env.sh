#!/bin/sh
# Writes a .env for `docker compose up -d --wait`, with new random passwords.
#
#   sh contrib/docker/new-env.sh app.example.com crm.example.com     with an EspoCRM of its own
#   sh contrib/docker/new-env.sh app.example.com                     with Bitrix24
set -eu
case $#,${1:-} in
    1,[!-]* | 2,[!-]*) ;;
    *) echo "Usage: sh $0 APP_DOMAIN [CRM_DOMAIN]" >&2; exit 2 ;;
esac
if [ -e .env ]; then
    echo "There is a .env already: it holds passwords, and is not overwritten." >&2
    exit 1
fi

random() { od -An -N24 -tx1 /dev/urandom | tr -d ' \n'; }

umask 077
{
    echo "# Every setting: .env.example, docs/configuration.md. A value with \$, # or spaces stands in single quotes."
    echo "APP_DOMAIN=$1"
    echo "REDIS_PASSWORD=$(random)"
    if [ $# = 2 ]; then
        echo "CRM_PROVIDER=espocrm"
        echo "CRM_DOMAIN=$2"
        echo "ESPOCRM_PUBLIC_URL=https://$2"
        echo "ESPOCRM_ADMIN_USERNAME=admin"
        echo "ESPOCRM_ADMIN_PASSWORD=$(random)"
        echo "ESPOCRM_DB_NAME=espocrm"
        echo "ESPOCRM_DB_USER=espocrm"
        echo "ESPOCRM_DB_PASSWORD=$(random)"
        echo "MYSQL_ROOT_PASSWORD=$(random)"
    else
        echo "CRM_PROVIDER=bitrix"
        echo "BITRIX_WEBHOOK_URL="
    fi
    echo "# Which of the services run besides the gateway's own"
    echo "COMPOSE_PROFILES=\${CRM_PROVIDER}"
} > .env
echo "Wrote .env. $([ $# = 2 ] || echo "Put the webhook of Bitrix24 into BITRIX_WEBHOOK_URL. ")Next: docker compose up -d --wait"
