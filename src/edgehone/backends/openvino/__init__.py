"""OpenVINO and NNCF: conversion, compression and inference of language models and graphs."""
