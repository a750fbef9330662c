#!/bin/sh
exec "$(dirname "$0")/../image_generation/setup.sh"
