"""Features, the input table of an algorithm: conversion between containers, Arrow, Parquet and JSON."""
